// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterSupervision

@Suite("Supervisor: scaling")
struct SupervisorScalingTests {
    private static let web = WorkerGroupConfiguration(name: "web", workers: 2)
    private static let second = WorkerID(group: 0, slot: 1)

    @Test("Up: new slots get their processes at once")
    func up() {
        var rig = SupervisorRig.ready(Self.web)
        let actions = rig.send(.scale(group: 0, to: 4))
        #expect(actions.spawned == [3, 4])
        #expect(actions.notices.first == .scaled(group: 0, to: 4))
        #expect(rig.states() == [.ready, .ready, .starting, .starting])
        #expect(rig.send(.scale(group: 0, to: 4)) == [])
    }

    @Test("Down: the highest slots' processes stop at once, are killed at their deadline and not restarted")
    func down() {
        var rig = SupervisorRig.ready(WorkerGroupConfiguration(name: "web", workers: 4))
        #expect(rig.send(.scale(group: 0, to: 1)).deeds == [.stop(4), .stop(3), .stop(2)])
        #expect(rig.states() == [.ready, .stopping, .stopping, .stopping])
        #expect(rig.state.isEveryWorkerReady)
        let actions = rig.exit(4)
        #expect(actions.reasons == [.requested])
        #expect(actions.restarts == [] && actions.deeds == [])
        #expect(rig.advance(.seconds(60)).deeds.count == 2)
        rig.kill(2)
        rig.kill(3)
        #expect(rig.states() == [.ready, .empty, .empty, .empty])
        #expect(rig.timers.isEmpty)
        #expect(rig.slot(1).deathsByReason[.requested] == 1)
        #expect(rig.slot(1).restartsByReason.total == 0)
    }

    @Test("Down and up again while the old process drains: the slot gets a new one at once")
    func downAndUp() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.scale(group: 0, to: 1))
        #expect(rig.send(.scale(group: 0, to: 2)).deeds == [.spawn(3, .slot(Self.second))])
        rig.send(.ready(3))
        #expect(rig.states() == [.ready, .ready])
        #expect(rig.state.snapshot(at: rig.now).groups[0].surplus == 1)
        #expect(rig.exit(2).deeds == [])
        #expect(rig.slot(1).incarnation == 3)
        #expect(rig.slot(1).starts == 2)
    }

    @Test("Down and up over and over ends with the asked number")
    func flapping() {
        var rig = SupervisorRig.ready(Self.web)
        for _ in 0..<5 {
            rig.send(.scale(group: 0, to: 0))
            rig.send(.scale(group: 0, to: 2))
        }
        #expect(rig.states() == [.starting, .starting])
        for process in rig.state.processes.all where process.phase.isStopping { rig.exit(process.incarnation) }
        #expect(rig.state.processes.all.count == 2)
    }

    @Test("Down while a slot waits or is aborted: it gets nothing any more")
    func downWhileWaiting() {
        var rig = SupervisorRig.ready(WorkerGroupConfiguration(name: "web", workers: 3))
        rig.kill(3)
        rig.send(.unresponsive(2, canAbort: true))
        #expect(rig.send(.scale(group: 0, to: 1)).deeds == [])
        #expect(rig.timers[.backoff(WorkerID(group: 0, slot: 2))] == nil)
        let actions = rig.kill(2, signal: 6)
        #expect(actions.reasons == [.heartbeat] && actions.restarts == [] && actions.deeds == [])
        #expect(rig.timers.isEmpty)
    }

    @Test("To none, and back")
    func toNone() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.scale(group: 0, to: -3))
        rig.exit(1)
        rig.exit(2)
        #expect(rig.state.phase == .running)
        #expect(!rig.state.isReady(group: 0) && rig.state.isEveryWorkerReady)
        #expect(rig.send(.scale(group: 0, to: 1)).spawned == [3])
    }

    @Test("Signals: every group by one, and never to none")
    func signals() {
        var rig = SupervisorRig.ready(Self.web, WorkerGroupConfiguration(name: "jobs", workers: 1))
        #expect(
            rig.send(.addWorker).notices.filter { if case .scaled = $0 { true } else { false } } == [
                .scaled(group: 0, to: 3), .scaled(group: 1, to: 2),
            ])
        for _ in 0..<5 { rig.send(.removeWorker) }
        #expect(rig.state.snapshot(at: rig.now).groups.map(\.workers) == [1, 1])
        rig.send(.scale(group: 1, to: 0))
        rig.send(.removeWorker)
        #expect(rig.state.snapshot(at: rig.now).groups.map(\.workers) == [1, 0])
        rig.send(.addWorker)
        #expect(rig.state.snapshot(at: rig.now).groups.map(\.workers) == [2, 1])
    }

    @Test("A replaced process whose slot is no longer wanted is not restarted")
    func downWhileReplaced() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.replace(Self.second))
        #expect(rig.send(.scale(group: 0, to: 1)).deeds == [.stop(2), .stop(3)])
        #expect(rig.exit(2).deeds == [])
        #expect(rig.exit(3).notices.count == 1)
    }

    @Test("Not while the launcher ends")
    func stopping() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.terminate)
        for event: SupervisorEvent in [
            .scale(group: 0, to: 5), .addWorker, .removeWorker, .replace(Self.second), .begin,
        ] {
            #expect(rig.send(event) == [])
        }
    }
}
