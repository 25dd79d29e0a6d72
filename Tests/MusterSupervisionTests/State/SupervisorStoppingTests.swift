// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterSupervision

@Suite("Supervisor: the end")
struct SupervisorStoppingTests {
    private static let web = WorkerGroupConfiguration(name: "web", workers: 2)
    private static let first = WorkerID(group: 0, slot: 0)

    @Test("terminate: readiness goes off, every worker stops, and the end comes with the last of them")
    func terminate() {
        var rig = SupervisorRig.ready(Self.web)
        let actions = rig.send(.terminate)
        #expect(actions.deeds == [.stop(1), .stop(2)])
        #expect(actions.notices == [.shutdownBegan(status: 0)])
        #expect(rig.state.phase == .stopping && !rig.state.isReady(group: 0) && !rig.state.isEveryWorkerReady)
        #expect(rig.exit(1).restarts == [])
        #expect(rig.exit(2, code: 1).last == .finish(status: 0))
        #expect(rig.state.phase == .finished)
        #expect(rig.timers.isEmpty)
        #expect(rig.send(.terminate) == [] && rig.send(.interrupt) == [] && rig.send(.begin) == [])
    }

    @Test("terminate: what does not stop is killed at its group's deadline")
    func stopTimeouts() {
        var rig = SupervisorRig.ready(
            WorkerGroupConfiguration(name: "a", workers: 1, stopTimeout: .seconds(1)),
            WorkerGroupConfiguration(name: "b", workers: 1, stopTimeout: .seconds(2)),
            WorkerGroupConfiguration(name: "c", workers: 1, stopTimeout: .zero))
        rig.send(.terminate)
        #expect(rig.advance(.seconds(1)).deeds == [.kill(1)])
        #expect(rig.advance(.seconds(1)).deeds == [.kill(2)])
        #expect(rig.advance(.seconds(100_000)) == [])
        rig.kill(1)
        rig.kill(2)
        #expect(rig.exit(3).deeds == [.finish(status: 0)])
    }

    @Test("The shutdown delay: workers go on unready, then stop")
    func shutdownDelay() {
        var rig = SupervisorRig.ready(Self.web, shutdownDelay: .seconds(5))
        rig.advance(.seconds(20))
        #expect(rig.send(.terminate).deeds == [])
        #expect(rig.state.phase == .stopping && !rig.state.isReady(group: 0))
        #expect(rig.send(.end(status: 3)) == [])
        // A hung worker is still dealt with.
        #expect(rig.send(.unresponsive(1, canAbort: true)).deeds == [.abort(1)])
        #expect(rig.kill(1, signal: 6).spawned == [3])
        #expect(rig.advance(.seconds(5)).deeds == [.stop(2), .stop(3)])
        rig.exit(2)
        #expect(rig.exit(3).last == .finish(status: 0))
    }

    @Test("Workers that die in the shutdown delay are replaced, as it serves on until its end")
    func deathsInTheShutdownDelay() {
        var rig = SupervisorRig.ready(Self.web, shutdownDelay: .seconds(5))
        rig.advance(.seconds(20))
        rig.send(.terminate)
        #expect(rig.kill(1).spawned == [3])
        #expect(rig.kill(2).spawned == [4])
        rig.send(.ready(3))
        rig.send(.ready(4))
        // The second time, the next process is delayed, and nothing ends meanwhile.
        rig.kill(3)
        rig.kill(4)
        #expect(rig.states() == [.backoff, .backoff])
        #expect(Set(rig.advance(.seconds(1)).spawned) == [5, 6])
        #expect(rig.advance(.seconds(4)).deeds == [.stop(5), .stop(6)])
        rig.exit(5)
        #expect(rig.exit(6).last == .finish(status: 0))
        #expect(rig.timers.isEmpty)
    }

    @Test("A slot whose next process is delayed stays empty when the delay is over")
    func backoffAtTheEndOfTheDelay() {
        var configuration = Self.web
        configuration.backoff = RestartBackoff(base: .seconds(60), maximum: .seconds(60))
        var rig = SupervisorRig.ready(configuration, shutdownDelay: .seconds(5))
        rig.kill(1)
        rig.send(.terminate)
        #expect(rig.advance(.seconds(5)).deeds == [.stop(2)])
        #expect(rig.exit(2).last == .finish(status: 0))
        #expect(rig.timers.isEmpty)
    }

    @Test("Too many restarts with escalate end it after the shutdown delay, in which all is served")
    func escalation() {
        var configuration = Self.web
        configuration.intensity = RestartIntensity(maximum: 1, period: .seconds(60), whenExceeded: .escalate)
        var rig = SupervisorRig.ready(configuration, shutdownDelay: .seconds(5))
        rig.advance(.seconds(20))
        rig.kill(1)
        rig.send(.ready(3))
        let actions = rig.kill(2)
        #expect(actions.notices.contains(.shutdownBegan(status: 1)))
        #expect(actions.spawned == [4])
        #expect(rig.advance(.seconds(5)).deeds == [.stop(3), .stop(4)])
        rig.exit(3)
        #expect(rig.exit(4).last == .finish(status: 1))
    }

    @Test("A crash that does not end while a worker stops is killed")
    func crashWhileStopping() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.terminate)
        #expect(rig.send(.unresponsive(1, canAbort: true)) == [])
        #expect(rig.send(.unresponsive(1, canAbort: false)) == [.kill(1)])
    }

    @Test("What cannot be spawned at the first start ends it, and is tried again later")
    func firstSpawn() {
        var rig = SupervisorRig(Self.web, spawnsThemselves: false)
        rig.send(.spawned(1))
        let actions = rig.send(.spawnFailed(2))
        #expect(actions.notices.contains(.shutdownBegan(status: 1)))
        #expect(actions.deeds == [.stop(1)])
        #expect(rig.exit(1).last == .finish(status: 1))
        var running = SupervisorRig.ready(Self.web)
        running.advance(.seconds(20))
        running.spawnsThemselves = false
        #expect(running.kill(1).spawned == [3])
        #expect(running.send(.spawnFailed(3)).notices.contains(.shutdownBegan(status: 1)) == false)
    }

    @Test("The shutdown delay does not begin without any worker")
    func shutdownDelayWithoutWorkers() {
        var starting = SupervisorRig(Self.web, shutdownDelay: .seconds(5))
        #expect(starting.send(.terminate).deeds == [.stop(1), .stop(2)])
        var waiting = SupervisorRig(Self.web, shutdownDelay: .seconds(5), begins: false)
        #expect(waiting.send(.terminate).deeds == [.finish(status: 0)])
    }

    @Test(
        "A second terminate, also during the shutdown delay, kills everything", arguments: [Duration.zero, .seconds(5)])
    func secondTerminate(delay: Duration) {
        var rig = SupervisorRig.ready(Self.web, shutdownDelay: delay)
        rig.send(.terminate)
        let actions = rig.send(.terminate)
        #expect(actions.deeds == [.kill(1), .kill(2)])
        #expect(actions.notices == [.halted])
        #expect(rig.state.phase == .halting)
        #expect(Array(rig.timers.keys) == [.halt])
        for event: SupervisorEvent in [.terminate, .interrupt, .end(status: 0), .reload, .ready(1)] {
            #expect(rig.send(event) == [])
        }
        rig.kill(1)
        #expect(rig.kill(2).last == .finish(status: 1))
        #expect(rig.timers.isEmpty)
    }

    @Test("The end at once comes even if a killed process is still there")
    func haltTimer() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.interrupt)
        rig.kill(1)
        #expect(rig.advance(.seconds(1)) == [.finish(status: 1)])
        #expect(rig.kill(2) == [])
        #expect(rig.timers.isEmpty)
    }

    @Test("end: the status is the first one's, asking again changes nothing")
    func end() {
        var rig = SupervisorRig.ready(Self.web)
        #expect(rig.send(.end(status: 7)).deeds == [.stop(1), .stop(2)])
        #expect(rig.send(.end(status: 0)) == [])
        rig.exit(1)
        #expect(rig.exit(2).deeds == [.finish(status: 7)])
    }

    /// How to get two workers into each state, with the processes that have to go then.
    private static let ways: [(name: String, events: [SupervisorEvent], stopped: [Int], left: Set<Int>)] = [
        ("starting", [], [1, 2], [1, 2]),
        ("spare starting", [.ready(1), .ready(2)], [1, 2], [1, 2, 3]),
        ("spare parked", [.ready(1), .ready(2), .parked(3)], [1, 2], [1, 2, 3]),
        ("aborting", [.ready(1), .unresponsive(1, canAbort: true)], [2], [1, 2]),
        ("backoff", [.exited(1, .signaled(9), isOutOfMemory: false)], [2], [2]),
        ("replaced", [.ready(1), .replace(first)], [1, 2, 3], [1, 2, 3]),
        ("scaled down", [.ready(1), .scale(group: 0, to: 1)], [1], [1, 2, 3]),
        (
            "promoted",
            [.ready(1), .ready(2), .parked(3), .scale(group: 0, to: 3)], [1, 2, 3], [1, 2, 3]
        ),
        ("rolling, successor starting", [.ready(1), .reload], [1, 2, 3], [1, 2, 3]),
        ("rolling, predecessor draining", [.ready(1), .reload, .ready(3)], [2, 3], [1, 2, 3]),
    ]

    @Test("terminate ends gracefully from wherever the workers are, and interrupt at once", arguments: 0..<10)
    func everywhere(index: Int) {
        let way = Self.ways[index]
        var configuration = Self.web
        configuration.warmSpares = 1
        for isInterrupt in [false, true] {
            var rig = SupervisorRig(configuration)
            for event in way.events { rig.send(event) }
            let actions = rig.send(isInterrupt ? .interrupt : .terminate)
            let stopped = actions.deeds.compactMap { if case .stop(let incarnation) = $0 { incarnation } else { nil } }
            let killed = actions.deeds.compactMap { if case .kill(let incarnation) = $0 { incarnation } else { nil } }
            #expect(stopped.sorted() == (isInterrupt ? [] : way.stopped), "\(way.name)")
            if isInterrupt { #expect(Set(killed) == way.left, "\(way.name)") }
            #expect(Set(rig.state.processes.all.map(\.incarnation)) == way.left, "\(way.name)")
            var rest: [SupervisorAction] = []
            for incarnation in way.left.sorted() { rest += rig.exit(incarnation) }
            #expect(rest.deeds == [.finish(status: isInterrupt ? 1 : 0)], "\(way.name)")
            #expect(rig.timers.isEmpty, "\(way.name)")
        }
    }

    @Test("A roll, and the one after it, are given up")
    func duringRoll() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.reload)
        rig.send(.reload)
        let actions = rig.send(.terminate)
        #expect(actions.reloads == [.superseded, .superseded])
        #expect(actions.deeds == [.stop(3), .stop(1), .stop(2)])
        #expect(rig.send(.ready(3)) == [])
        #expect(rig.send(.reload) == [])
        rig.exit(3)
        rig.exit(1)
        #expect(rig.exit(2).deeds == [.finish(status: 0)])
    }

    @Test("During the shutdown delay a successor stops at once")
    func successorDuringDelay() {
        var rig = SupervisorRig.ready(Self.web, shutdownDelay: .seconds(5))
        rig.send(.reload)
        #expect(rig.send(.terminate).deeds == [.stop(3)])
        #expect(rig.exit(3).deeds == [])
        #expect(rig.advance(.seconds(5)).deeds == [.stop(1), .stop(2)])
    }

    @Test("What could not be made when the end began is not tried again")
    func spawnFailsAtTheEnd() {
        var rig = SupervisorRig(Self.web, spawnsThemselves: false)
        rig.send(.terminate)
        #expect(rig.send(.spawnFailed(1)).deeds == [])
        #expect(rig.send(.spawned(2)).notices == [.started(WorkerID(group: 0, slot: 1), incarnation: 2)])
        #expect(rig.exit(2).deeds == [.finish(status: 0)])
        #expect(rig.timers.isEmpty)
    }

    @Test("Limits that change while the end is under way arm nothing")
    func reconfigureAtTheEnd() {
        var configuration = Self.web
        configuration.intensity = RestartIntensity(maximum: 0)
        var rig = SupervisorRig.ready(configuration)
        rig.kill(1)
        rig.send(.terminate)
        #expect(rig.send(.reconfigure([configuration])) == [])
        rig.exit(2)
        #expect(rig.timers.isEmpty)
    }
}
