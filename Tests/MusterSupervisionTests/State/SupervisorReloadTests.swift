// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterSupervision

@Suite("Supervisor: reloads")
struct SupervisorReloadTests {
    private static func web(workers: Int = 2, spares: Int = 0) -> WorkerGroupConfiguration {
        WorkerGroupConfiguration(name: "web", workers: workers, warmSpares: spares)
    }
    private static let first = WorkerID(group: 0, slot: 0)
    private static let second = WorkerID(group: 0, slot: 1)

    @Test("One slot after the other: the new process is ready before the old one stops, over all groups")
    func roll() {
        var rig = SupervisorRig.ready(Self.web(), WorkerGroupConfiguration(name: "jobs", workers: 1))
        var incarnation = 4
        let workers = [Self.first, Self.second, WorkerID(group: 1, slot: 0)]
        var actions = rig.send(.reload)
        #expect(actions.notices.first == .reloadBegan)
        for (old, worker) in zip(1..., workers) {
            #expect(actions.deeds == [.spawn(incarnation, .slot(worker))])
            #expect(rig.state.processes[incarnation]?.role == .successor(worker))
            #expect(rig.state.snapshot(at: rig.now).groups[worker.group].surplus == 1)
            actions = rig.send(.ready(incarnation))
            #expect(actions.deeds == [.stop(old)])
            #expect(actions.restarts == [.reload])
            #expect(rig.state.processes[incarnation]?.role == .current(worker))
            #expect(rig.state.processes[old]?.role == .former(worker))
            #expect(rig.state.isEveryWorkerReady)
            actions = rig.exit(old)
            #expect(actions.reasons == [.reload])
            incarnation += 1
        }
        #expect(actions.deeds == [])
        #expect(actions.reloads == [.completed])
        #expect(!rig.state.snapshot(at: rig.now).isReloading)
        #expect(rig.slot(0).restartsByReason[.reload] == 1)
        #expect(rig.slot(0).restartsByReason.total == 1)
        #expect(rig.slot(0).starts == 2)
        #expect(rig.timers.isEmpty)
    }

    @Test("An old process that does not go is killed at its deadline, and the roll goes on")
    func predecessorHangs() {
        var rig = SupervisorRig.ready(Self.web())
        rig.send(.reload)
        rig.send(.ready(3))
        #expect(rig.advance(.seconds(60)).deeds == [.kill(1)])
        #expect(rig.kill(1).reasons == [.reload])
        #expect(rig.state.processes[4]?.role == .successor(Self.second))
    }

    @Test(
        "A new process that does not get ready aborts the roll; the old one goes on",
        arguments: [
            [.exited(3, .exited(code: 1), isOutOfMemory: false)],
            [.startFailed(3), .exited(3, .exited(code: 0), isOutOfMemory: false)],
            [.unresponsive(3, canAbort: true), .exited(3, .signaled(6), isOutOfMemory: false)],
        ] as [[SupervisorEvent]], [RestartPolicy.always, .onFailure, .never])
    func aborted(events: [SupervisorEvent], policy: RestartPolicy) {
        var configuration = Self.web()
        configuration.policy = policy
        var rig = SupervisorRig.ready(configuration)
        rig.send(.reload)
        var actions: [SupervisorAction] = []
        for event in events { actions += rig.send(event) }
        #expect(actions.reloads == [.aborted])
        #expect(actions.restarts == [])
        #expect(rig.states() == [.ready, .ready])
        #expect(rig.slot(0).incarnation == 1 && rig.slot(1).incarnation == 2)
        #expect(rig.timers.isEmpty)
        #expect(rig.state.phase == .running)
    }

    @Test("A new process that hangs while starting aborts the roll once it is gone")
    func successorTimesOut() {
        var rig = SupervisorRig.ready(Self.web())
        rig.send(.reload)
        #expect(rig.advance(.seconds(60)).deeds == [.abort(3)])
        let actions = rig.kill(3, signal: 6)
        #expect(actions.reasons == [.startupTimeout])
        #expect(actions.reloads == [.aborted])
        #expect(rig.states() == [.ready, .ready])
    }

    @Test("A new process that cannot be made aborts the roll")
    func successorNotSpawned() {
        var rig = SupervisorRig.ready(Self.web())
        rig.spawnsThemselves = false
        rig.send(.reload)
        let actions = rig.send(.spawnFailed(3))
        #expect(
            actions.notices == [.spawnFailed(.slot(Self.first), incarnation: 3, delay: .zero), .reloadEnded(.aborted)])
        #expect(rig.timers.isEmpty)
    }

    @Test("A roll that fails half way leaves what is new and what is old as they are")
    func abortedHalfWay() {
        var rig = SupervisorRig.ready(Self.web())
        rig.send(.reload)
        rig.send(.ready(3))
        rig.exit(1)
        #expect(rig.exit(4, code: 1).reloads == [.aborted])
        #expect(rig.slot(0).incarnation == 3 && rig.slot(1).incarnation == 2)
    }

    @Test("The old process dies while its successor comes up: the successor is its restart, the only one")
    func predecessorDies() {
        var rig = SupervisorRig.ready(Self.web())
        rig.send(.reload)
        let actions = rig.kill(1)
        #expect(actions.deeds == [])
        #expect(actions.restarts == [.signal])
        #expect(rig.state.processes[3]?.role == .current(Self.first))
        #expect(rig.timers[.backoff(Self.first)] == nil)
        #expect(rig.send(.ready(3)).deeds == [.spawn(4, .slot(Self.second))])
        #expect(rig.slot(0).restartsByReason.total == 1)
        #expect(rig.slot(0).starts == 2)
    }

    @Test("Both die, one after the other: the roll is aborted and the slot restarted")
    func bothDie() {
        var rig = SupervisorRig.ready(Self.web())
        rig.send(.reload)
        rig.kill(1)
        let actions = rig.kill(3)
        #expect(actions.reloads == [.aborted])
        #expect(actions.restarts == [.signal])
        #expect(rig.states() == [.backoff, .ready])
    }

    @Test("The old process has done its work while its successor comes up: the slot is finished")
    func predecessorFinishes() {
        var configuration = Self.web()
        configuration.policy = .onFailure
        var rig = SupervisorRig.ready(configuration)
        rig.send(.reload)
        #expect(rig.exit(1).deeds == [.stop(3)])
        #expect(rig.states() == [.finished, .ready])
        #expect(rig.exit(3).deeds == [.spawn(4, .slot(Self.second))])
    }

    @Test("An old process that hangs while its successor comes up goes when it is replaced, as what it is")
    func predecessorHung() {
        var rig = SupervisorRig.ready(Self.web())
        rig.send(.reload)
        #expect(rig.send(.unresponsive(1, canAbort: true)).deeds == [.abort(1)])
        #expect(rig.send(.ready(3)).deeds == [])
        let actions = rig.kill(1, signal: 6)
        #expect(actions.reasons == [.heartbeat])
        #expect(actions.restarts == [])
        #expect(rig.slot(0).restartsByReason.total == 1)
        #expect(rig.state.processes[4]?.role == .successor(Self.second))
    }

    @Test("Slots that got, or get, a new process anyway are passed over")
    func youngerAreSkipped() {
        var rig = SupervisorRig.ready(Self.web(workers: 4))
        rig.kill(2)  // back-off
        rig.send(.unresponsive(3, canAbort: true))
        rig.send(.reload)
        rig.kill(4)
        rig.advance(.seconds(1))
        rig.send(.ready(5))
        let actions = rig.exit(1)
        #expect(actions.reloads == [.completed])
    }

    @Test("Workers that are still starting are rolled, too: they may have read the older settings")
    func startingAreRolled() {
        var rig = SupervisorRig(Self.web(workers: 1))
        #expect(rig.send(.reload).spawned == [2])
        #expect(rig.send(.ready(1)).deeds == [])
        #expect(rig.send(.ready(2)).deeds == [.stop(1)])
    }

    @Test("A reload with nothing to roll is over at once")
    func nothingToRoll() {
        var rig = SupervisorRig(Self.web(workers: 0))
        #expect(rig.send(.reload) == [.notice(.reloadBegan), .notice(.reloadEnded(.completed))])
    }

    @Test("A reload during a roll is done afterwards, once, however often it was asked for")
    func remembered() {
        var rig = SupervisorRig.ready(Self.web(workers: 1))
        rig.send(.reload)
        #expect(rig.send(.reload) == [])
        #expect(rig.send(.reload).reloads == [.superseded])
        #expect(rig.send(.reload).reloads == [.superseded])
        rig.send(.ready(2))
        let actions = rig.exit(1)
        #expect(actions.notices.suffix(3).prefix(2) == [.reloadEnded(.completed), .reloadBegan])
        #expect(actions.spawned == [3])
        rig.send(.ready(3))
        #expect(rig.exit(2).reloads == [.completed])
        #expect(!rig.state.snapshot(at: rig.now).isReloading)
    }

    @Test("A reload that is remembered is done after an aborted one, too")
    func rememberedAfterAbort() {
        var rig = SupervisorRig.ready(Self.web(workers: 1))
        rig.send(.reload)
        rig.send(.reload)
        let actions = rig.exit(2, code: 1)
        #expect(actions.reloads == [.aborted])
        #expect(actions.spawned == [3])
    }

    @Test("A reload whose settings cannot be read is only told")
    func refused() {
        var rig = SupervisorRig.ready(Self.web())
        #expect(rig.send(.reloadRefused) == [.notice(.reloadEnded(.refused))])
        #expect(rig.states() == [.ready, .ready])
    }

    @Test("Spares are older than the settings: they are replaced, and never become successors")
    func spares() {
        var rig = SupervisorRig.ready(Self.web(spares: 1))
        #expect(rig.send(.reload).deeds == [.kill(3), .spawn(4, .slot(Self.first))])
        #expect(rig.kill(3).deeds == [])
        // The successor is up: now the spare may come.
        #expect(rig.send(.ready(4)).deeds == [.stop(1), .spawn(5, .spare(group: 0))])
        rig.send(.parked(5))
        #expect(rig.exit(1).deeds == [.spawn(6, .slot(Self.second))])
        rig.send(.ready(6))
        #expect(rig.exit(2).reloads == [.completed])
        #expect(rig.state.processes[5]?.role == .spare(group: 0))
    }

    @Test("Scaled down below the slot that is being rolled, the roll goes on without it")
    func scaledDown() {
        var rig = SupervisorRig.ready(Self.web())
        rig.send(.reload)
        rig.send(.ready(3))
        rig.exit(1)
        #expect(rig.send(.scale(group: 0, to: 1)).deeds == [.stop(2), .stop(4)])
        #expect(rig.exit(2).reloads == [])
        #expect(rig.exit(4).reloads == [.completed])
        #expect(rig.states() == [.ready, .empty])
        #expect(rig.timers.isEmpty)
    }

    @Test("mutate: every ready worker reads its settings again, one that comes up does when it is ready")
    func mutate() {
        var rig = SupervisorRig.ready(Self.web(workers: 3, spares: 1))
        rig.kill(3)
        rig.kill(4)
        rig.advance(.seconds(1))  // Slot 2 has got incarnation 5; the spare waits until it is ready.
        let actions = rig.send(.mutate)
        #expect(actions.deeds == [.reset(1), .reset(2)])
        #expect(actions.notices == [.reloadBegan])
        #expect(rig.send(.ready(5)).deeds == [.reset(5), .spawn(6, .spare(group: 0))])
        rig.send(.parked(6))
        #expect(rig.send(.hasReset(1, succeeded: true)) == [])
        #expect(rig.send(.hasReset(1, succeeded: true)) == [])
        #expect(rig.send(.hasReset(5, succeeded: true)) == [])
        #expect(rig.send(.hasReset(2, succeeded: true)).notices == [.resetEnded(.completed)])
        #expect(rig.send(.mutate).deeds == [.reset(1), .reset(2), .reset(5), .kill(6)])
        #expect(rig.kill(6).deeds == [.spawn(7, .spare(group: 0))])
        #expect(rig.send(.terminate).notices.contains(.resetEnded(.superseded)))
        #expect(rig.send(.mutate) == [])
        #expect(rig.send(.reload) == [])
    }

    @Test("mutate: one that could not take up its settings makes it fail, one that is gone does not count")
    func mutateFails() {
        var rig = SupervisorRig.ready(Self.web(workers: 3))
        rig.send(.mutate)
        rig.send(.hasReset(1, succeeded: false))
        rig.send(.hasReset(2, succeeded: true))
        #expect(rig.kill(3).notices.contains(.resetEnded(.aborted)))
        rig.send(.mutate)
        #expect(rig.send(.mutate).notices.first == .resetEnded(.superseded))
    }
}
