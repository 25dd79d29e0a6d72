// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterSupervision

@Suite("Supervisor: replacing a slot's process")
struct SupervisorReplaceTests {
    private static let web = WorkerGroupConfiguration(name: "web", workers: 2)
    private static let first = WorkerID(group: 0, slot: 0)
    private static let second = WorkerID(group: 0, slot: 1)

    @Test("The new process is ready before the old one stops, counted as requested")
    func replace() {
        var rig = SupervisorRig.ready(Self.web)
        #expect(rig.send(.replace(Self.first)).deeds == [.spawn(3, .slot(Self.first))])
        #expect(rig.send(.replace(Self.first)) == [])
        #expect(rig.states() == [.ready, .ready])
        let actions = rig.send(.ready(3))
        #expect(actions.deeds == [.stop(1)])
        #expect(actions.restarts == [.requested])
        #expect(rig.state.isEveryWorkerReady)
        #expect(rig.exit(1).reasons == [.requested])
        #expect(rig.slot(0).restartsByReason[.requested] == 1)
        #expect(rig.slot(0).restartsByReason.total == 1)
        #expect(rig.timers.isEmpty)
    }

    @Test("One that waits for its restart does so no longer")
    func replaceInBackoff() {
        var rig = SupervisorRig.ready(Self.web)
        rig.kill(1)
        #expect(rig.send(.replace(Self.first)).deeds == [.spawn(3, .slot(Self.first))])
        #expect(rig.timers[.backoff(Self.first)] == nil)
    }

    @Test("One that is being aborted is about to be replaced")
    func replaceAborted() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.unresponsive(1, canAbort: true))
        #expect(rig.send(.replace(Self.first)) == [])
        #expect(rig.kill(1, signal: 6).restarts == [.heartbeat])
    }

    @Test(
        "A new process that does not get ready leaves the old one as it is",
        arguments: [
            [.exited(3, .exited(code: 1), isOutOfMemory: false)],
            [.startFailed(3), .exited(3, .exited(code: 0), isOutOfMemory: false)],
            [.timer(.startup(3)), .exited(3, .signaled(6), isOutOfMemory: false)],
        ] as [[SupervisorEvent]], [RestartPolicy.always, .onFailure, .never])
    func fails(events: [SupervisorEvent], policy: RestartPolicy) {
        var configuration = Self.web
        configuration.policy = policy
        var rig = SupervisorRig.ready(configuration)
        rig.send(.replace(Self.first))
        rig.advance(.seconds(59))
        var actions: [SupervisorAction] = []
        for event in events { actions += rig.send(event) }
        #expect(actions.notices.last == .replacementFailed(Self.first, incarnation: 3))
        #expect(actions.restarts == [])
        #expect(rig.states() == [.ready, .ready])
        #expect(rig.slot(0).incarnation == 1)
        #expect(rig.send(.replace(Self.first)).spawned == [4])
    }

    @Test("A new process that cannot be made, either")
    func notSpawned() {
        var rig = SupervisorRig.ready(Self.web)
        rig.spawnsThemselves = false
        rig.send(.replace(Self.first))
        #expect(rig.send(.spawnFailed(3)).notices.first == .replacementFailed(Self.first, incarnation: 3))
        #expect(rig.states() == [.ready, .ready])
        #expect(rig.timers.isEmpty)
    }

    @Test("The old process dies meanwhile: the new one is its restart, the only one")
    func predecessorDies() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.replace(Self.first))
        let actions = rig.kill(1)
        #expect(actions.deeds == [])
        #expect(actions.restarts == [.signal])
        #expect(rig.send(.ready(3)).deeds == [])
        #expect(rig.slot(0).restartsByReason.total == 1)
    }

    @Test("An old process that does not go is killed at its deadline")
    func timesOut() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.replace(Self.first))
        rig.send(.ready(3))
        let actions = rig.advance(.seconds(60))
        #expect(actions.deeds == [.kill(1)])
        #expect(actions.notices == [.stopTimedOut(incarnation: 1)])
        #expect(rig.kill(1).reasons == [.requested])
    }

    @Test("Several slots at once, as was asked")
    func several() {
        var rig = SupervisorRig.ready(Self.web)
        #expect(rig.send(.replace(Self.first)).spawned == [3])
        #expect(rig.send(.replace(Self.second)).spawned == [4])
        #expect(rig.send(.ready(4)).deeds == [.stop(2)])
        #expect(rig.send(.ready(3)).deeds == [.stop(1)])
    }

    @Test("A reload starts another one: the first may have read the older settings")
    func reloadDuringReplacement() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.replace(Self.first))
        #expect(rig.send(.reload).deeds == [.stop(3), .spawn(4, .slot(Self.first))])
        #expect(rig.exit(3).reloads == [])
        #expect(rig.send(.ready(4)).deeds == [.stop(1)])
    }

    @Test("A roll that comes to a slot with a successor waits for that one")
    func adopted() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.reload)
        #expect(rig.send(.replace(Self.first)) == [])
        #expect(rig.send(.replace(Self.second)).spawned == [4])
        rig.send(.ready(3))
        #expect(rig.exit(1).deeds == [])
        #expect(rig.send(.ready(4)).deeds == [.stop(2)])
        #expect(rig.exit(2).reloads == [.completed])
    }

    @Test("A roll that has waited for it in vain is aborted")
    func adoptedFails() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.reload)
        rig.send(.replace(Self.second))
        rig.send(.ready(3))
        rig.exit(1)
        let actions = rig.exit(4, code: 1)
        #expect(actions.notices.suffix(2) == [.replacementFailed(Self.second, incarnation: 4), .reloadEnded(.aborted)])
        #expect(rig.states() == [.ready, .ready])
    }

    @Test("A roll's new process that is alone in its slot can be replaced")
    func rolledAlone() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.reload)
        rig.kill(1)
        #expect(rig.send(.replace(Self.first)).spawned == [4])
        // The roll waits for its end instead.
        #expect(rig.send(.ready(4)).deeds == [.stop(3)])
        #expect(rig.exit(3).spawned == [5])
        rig.send(.ready(5))
        #expect(rig.exit(2).reloads == [.completed])
    }
}
