// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterSupervision

@Suite("Supervisor: warm spares")
struct SupervisorSpareTests {
    private static let web = WorkerGroupConfiguration(name: "web", workers: 2, warmSpares: 1)
    private static let first = WorkerID(group: 0, slot: 0)

    /// Both workers are ready and have been for long; the spare, incarnation 3, is parked.
    private func rig() -> SupervisorRig {
        var rig = SupervisorRig.ready(Self.web)
        rig.advance(.seconds(20))
        return rig
    }

    @Test("A spare comes when all workers are up, and has to be parked in time")
    func firstSpare() {
        var rig = SupervisorRig(Self.web)
        #expect(rig.send(.ready(1)).deeds == [])
        #expect(rig.send(.ready(2)).deeds == [.spawn(3, .spare(group: 0))])
        #expect(rig.timers[.startup(3)] != nil)
        #expect(rig.send(.ready(3)) == [])
        let actions = rig.send(.parked(3))
        #expect(actions.notices == [.spareParked(group: 0, incarnation: 3)])
        #expect(rig.timers.isEmpty)
        #expect(rig.state.snapshot(at: rig.now).groups[0].sparesParked == 1)
        #expect(rig.send(.parked(3)) == [] && rig.send(.parked(1)) == [])
    }

    @Test("A slot takes the parked spare; a new one comes when the promoted one is ready")
    func promotion() {
        var rig = rig()
        let actions = rig.kill(1)
        #expect(actions.deeds == [.promote(3, Self.first)])
        #expect(actions.notices.contains(.started(Self.first, incarnation: 3)))
        #expect(rig.timers[.startup(3)] != nil)
        #expect(rig.slot(0).startedAt == rig.now && rig.slot(0).readySince == nil)
        #expect(rig.state.processes[3]?.role == .current(Self.first))
        #expect(rig.send(.ready(3)).deeds == [.spawn(4, .spare(group: 0))])
        #expect(rig.slot(0).starts == 2)
    }

    @Test("A spare that is not up yet is not waited for")
    func notParkedYet() {
        var rig = SupervisorRig(Self.web)
        rig.send(.ready(1))
        rig.send(.ready(2))
        rig.advance(.seconds(20))
        #expect(rig.kill(1).deeds == [.spawn(4, .slot(Self.first))])
    }

    @Test("A promoted spare that dies before it is ready is a worker that dies")
    func promotedDies() {
        var rig = rig()
        rig.kill(1)
        let actions = rig.kill(3)
        #expect(actions.restarts == [.signal])
        #expect(rig.slot(0).deathsByReason[.signal] == 2)
        #expect(rig.states() == [.backoff, .ready])
        guard case .died(let death) = actions.notices.first else {
            Issue.record("no death in \(actions)")
            return
        }
        #expect(death.worker == Self.first && !death.wasReady && death.uptime == .zero)
    }

    @Test("A promoted spare has the start-up timeout of a worker")
    func promotedHangs() {
        var rig = rig()
        rig.kill(1)
        // What takes the slot next does not compete with it.
        #expect(rig.advance(.seconds(60)).deeds == [.abort(3), .spawn(4, .spare(group: 0))])
        #expect(rig.kill(3, signal: 6).restarts == [.startupTimeout])
    }

    @Test("A spare that dies is replaced, more and more slowly, and is no worker's restart")
    func spareDies() throws {
        var rig = rig()
        #expect(rig.kill(3).deeds == [.spawn(4, .spare(group: 0))])
        var incarnation = 4
        for nominal in [10, 20, 40] {
            let actions = rig.kill(incarnation)
            #expect(actions.restarts == [])
            let delay = try #require(rig.delay(.spareBackoff(0)))
            #expect(delay >= .milliseconds(nominal) * 0.9 && delay <= .milliseconds(nominal) * 1.1)
            incarnation = try #require(rig.advance(delay).spawned.first)
        }
        #expect(rig.slot(0).deathsByReason.total == 0 && rig.slot(1).deathsByReason.total == 0)
        #expect(rig.states() == [.ready, .ready])
    }

    @Test("A spare that hangs is aborted and killed")
    func spareHangs() {
        var rig = SupervisorRig(Self.web)
        rig.send(.ready(1))
        rig.send(.ready(2))
        let actions = rig.advance(.seconds(60))
        #expect(actions.notices == [.startupTimedOut(.spare(group: 0), incarnation: 3)])
        #expect(actions.deeds == [.abort(3)])
        #expect(rig.advance(.seconds(15)).deeds == [.kill(3)])
        #expect(rig.kill(3).reasons == [.startupTimeout])
        #expect(rig.timers.count == 1)
    }

    @Test("A spare that cannot be made is tried again later, whatever the settings say")
    func spareNotSpawned() {
        var configuration = Self.web
        configuration.backoff.base = .zero
        var rig = SupervisorRig(configuration)
        rig.send(.ready(1))
        rig.spawnsThemselves = false
        rig.send(.ready(2))
        #expect(rig.send(.spawnFailed(3)).deeds == [])
        #expect(rig.delay(.spareBackoff(0)) == .milliseconds(10))
        #expect(rig.advance(.milliseconds(10)).deeds == [.spawn(4, .spare(group: 0))])
    }

    @Test("Scaling up takes the spares first")
    func scaleUp() {
        var rig = rig()
        #expect(
            rig.send(.scale(group: 0, to: 4)).deeds == [
                .promote(3, WorkerID(group: 0, slot: 2)), .spawn(4, .slot(WorkerID(group: 0, slot: 3))),
            ])
        #expect(rig.send(.ready(3)).deeds == [])
        #expect(rig.send(.ready(4)).deeds == [.spawn(5, .spare(group: 0))])
    }

    @Test("More or fewer spares can be asked for")
    func reconfigure() {
        var rig = rig()
        var configuration = Self.web
        configuration.warmSpares = 3
        #expect(rig.send(.reconfigure([configuration])).spawned == [4, 5])
        configuration.warmSpares = 1
        #expect(rig.send(.reconfigure([configuration])).deeds == [.kill(4), .kill(5)])
        #expect(rig.kill(4).deeds == [] && rig.kill(5).deeds == [])
    }
}
