// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterSupervision

@Suite("Supervisor: restart policies and intensity")
struct SupervisorPolicyTests {
    private static func group(
        _ name: String, workers: Int = 1, _ policy: RestartPolicy = .always, intensity: RestartIntensity? = nil
    ) -> WorkerGroupConfiguration {
        WorkerGroupConfiguration(name: name, workers: workers, policy: policy, intensity: intensity)
    }

    @Test(
        "never: the first end that nobody asked for ends the launcher",
        arguments: [
            (.exited(code: 0), 0), (.exited(code: 3), 1), (.signaled(9), 1),
        ] as [(Termination, Int32)])
    func never(termination: Termination, status: Int32) {
        var rig = SupervisorRig.ready(Self.group("web"), Self.group("job", workers: 2, .never))
        let actions = rig.send(.exited(2, termination, isOutOfMemory: false))
        #expect(actions.notices.contains(.shutdownBegan(status: status)))
        #expect(actions.deeds == [.stop(1), .stop(3)])
        #expect(actions.restarts == [])
        rig.exit(1)
        #expect(rig.exit(3).deeds == [.finish(status: status)])
    }

    @Test("never: a worker that hung ends the launcher with status 1, whatever its code")
    func neverHung() {
        var rig = SupervisorRig.ready(Self.group("job", .never))
        rig.send(.unresponsive(1, canAbort: true))
        #expect(rig.exit(1).deeds == [.finish(status: 1)])
    }

    @Test("never: an end that was asked for does not count")
    func neverRequested() {
        var rig = SupervisorRig.ready(Self.group("job", workers: 2, .never))
        rig.send(.scale(group: 0, to: 1))
        #expect(rig.exit(2).deeds == [])
        #expect(rig.send(.replace(WorkerID(group: 0, slot: 0))).spawned == [3])
        rig.send(.ready(3))
        #expect(rig.exit(1).deeds == [])
        #expect(rig.send(.reload).spawned == [4])
        rig.send(.ready(4))
        #expect(rig.exit(3).reloads == [.completed])
        #expect(rig.state.phase == .running)
    }

    @Test("onFailure: exit code 0 leaves the slot empty; anything else is restarted")
    func onFailure() {
        var rig = SupervisorRig.ready(Self.group("job", workers: 3, .onFailure))
        #expect(rig.exit(1).restarts == [])
        #expect(rig.exit(2, code: 1).restarts == [.exit])
        #expect(rig.kill(3).restarts == [.signal])
        #expect(rig.states() == [.finished, .backoff, .backoff])
        #expect(rig.state.phase == .running)
        rig.advance(.seconds(1))
        rig.send(.ready(4))
        rig.send(.ready(5))
        #expect(rig.state.isEveryWorkerReady)
    }

    @Test("onFailure: when every slot of every group is finished the launcher ends with 0")
    func onFailureEnds() {
        var rig = SupervisorRig.ready(
            Self.group("a", workers: 2, .onFailure), Self.group("b", .onFailure))
        rig.exit(2)
        rig.exit(3)
        #expect(rig.state.phase == .running)
        #expect(rig.exit(1).deeds == [.finish(status: 0)])
    }

    @Test("onFailure: a group that goes on keeps the launcher")
    func onFailureBesideAlways() {
        var rig = SupervisorRig.ready(Self.group("a", .onFailure), Self.group("b"))
        rig.exit(1)
        #expect(rig.exit(2).restarts == [.exit])
        #expect(rig.state.phase == .running)
    }

    @Test("onFailure: scaled down to what is finished, the launcher ends")
    func onFailureScaledDown() {
        var rig = SupervisorRig.ready(Self.group("a", workers: 2, .onFailure))
        rig.exit(1)
        #expect(rig.send(.scale(group: 0, to: 1)).notices.contains(.shutdownBegan(status: 0)))
        #expect(rig.exit(2).deeds == [.finish(status: 0)])
    }

    @Test("onFailure: a finished group's spares go")
    func onFailureSpares() {
        var configuration = Self.group("a", .onFailure)
        configuration.warmSpares = 1
        var rig = SupervisorRig.ready(configuration, Self.group("b"))
        #expect(rig.exit(1).deeds == [.kill(3)])
        #expect(rig.kill(3).deeds == [])
    }

    @Test("onFailure: an aborted worker has failed, whatever its code")
    func onFailureHung() {
        var rig = SupervisorRig.ready(Self.group("a", .onFailure))
        rig.send(.unresponsive(1, canAbort: true))
        #expect(rig.exit(1).restarts == [.heartbeat])
    }

    @Test("absorb: restarts that are too many are told of until they have calmed down, and leave it ready")
    func absorb() throws {
        let intensity = RestartIntensity(maximum: 2, period: .seconds(60), whenExceeded: .absorb)
        var rig = SupervisorRig.ready(Self.group("web", workers: 2, intensity: intensity), Self.group("other"))
        var incarnation = 1
        for count in 1...4 {
            let actions = rig.kill(incarnation)
            #expect(actions.notices.contains(.intensityExceeded(group: 0)) == (count == 3))
            #expect(actions.restarts == [.signal])
            incarnation = try #require(rig.advance(.seconds(1)).spawned.first)
            rig.send(.ready(incarnation))
            #expect(rig.state.isReady(group: 0))
            #expect(rig.state.snapshot(at: rig.now).groups[0].isOverIntensity == (count >= 3))
        }
        // None for as long as two a minute allow: the last one was at second 3, and it is second 4.
        #expect(rig.advance(.seconds(28)).notices == [])
        #expect(rig.advance(.seconds(1)).notices == [.intensityCalm(group: 0)])
        #expect(rig.timers.isEmpty)
    }

    @Test("escalate: one restart too many ends the launcher with status 1")
    func escalate() throws {
        let intensity = RestartIntensity(maximum: 1, period: .seconds(60), whenExceeded: .escalate)
        var rig = SupervisorRig.ready(Self.group("web", workers: 2, intensity: intensity))
        rig.kill(1)
        let actions = rig.kill(2)
        #expect(actions.restarts == [])
        #expect(actions.deeds == [.finish(status: 1)])
        #expect(rig.timers.isEmpty)
    }

    @Test("What was asked for is not restarted too often, however often")
    func requestedIsNoRestart() throws {
        let intensity = RestartIntensity(maximum: 0, period: .seconds(60), whenExceeded: .escalate)
        var rig = SupervisorRig.ready(Self.group("web", intensity: intensity))
        var incarnation = 1
        for _ in 0..<10 {
            let successor = try #require(rig.send(.replace(WorkerID(group: 0, slot: 0))).spawned.first)
            rig.send(.ready(successor))
            rig.exit(incarnation)
            incarnation = successor
        }
        #expect(rig.state.isEveryWorkerReady)
    }

    @Test("A limit that is taken away is exceeded no longer")
    func limitRemoved() {
        var rig = SupervisorRig.ready(
            Self.group("web", workers: 2, intensity: RestartIntensity(maximum: 0)))
        rig.kill(1)
        #expect(rig.state.snapshot(at: rig.now).groups[0].isOverIntensity)
        #expect(
            rig.send(.reconfigure([Self.group("web")]))
                == [.disarm(.intensity(0)), .notice(.intensityCalm(group: 0))])
    }
}
