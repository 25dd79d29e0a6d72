// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterSupervision

@Suite("Supervisor: deaths and restarts")
struct SupervisorRestartTests {
    private static let web = WorkerGroupConfiguration(name: "web", workers: 2)
    private static let first = WorkerID(group: 0, slot: 0)

    @Test("The first workers of all groups are spawned at once, in order")
    func begin() {
        var rig = SupervisorRig(
            Self.web, WorkerGroupConfiguration(name: "jobs", workers: 1), begins: false, spawnsThemselves: false)
        #expect(
            rig.send(.begin) == [
                .spawn(1, .slot(WorkerID(group: 0, slot: 0))), .spawn(2, .slot(WorkerID(group: 0, slot: 1))),
                .spawn(3, .slot(WorkerID(group: 1, slot: 0))),
            ])
        #expect(rig.send(.begin) == [])
        #expect(
            rig.send(.spawned(1)) == [
                .arm(.startup(1), at: rig.now.advanced(by: .seconds(60))),
                .notice(.started(Self.first, incarnation: 1)),
            ])
        #expect(rig.send(.spawned(1)) == [])
        #expect(rig.send(.ready(1)) == [.disarm(.startup(1)), .notice(.ready(Self.first, incarnation: 1))])
        #expect(rig.send(.ready(1)) == [])
        #expect(rig.states() == [.ready, .starting])
        #expect(rig.state.isReady(group: 0) && !rig.state.isReady(group: 1) && !rig.state.isEveryWorkerReady)
    }

    @Test("A stable worker that dies is replaced at once, counted once, and gone for any later message")
    func immediateRestart() {
        var rig = SupervisorRig.ready(Self.web)
        rig.advance(.seconds(10))
        let actions = rig.kill(1, signal: 11)
        #expect(actions.deeds == [.spawn(3, .slot(Self.first))])
        #expect(
            actions.notices.first
                == .died(
                    WorkerDeath(
                        worker: Self.first, group: 0, incarnation: 1, reason: .signal, termination: .signaled(11),
                        uptime: .seconds(10), wasReady: true)))
        #expect(actions.restarts == [.signal])
        for event: SupervisorEvent in [
            .ready(1), .startFailed(1), .exited(1, .signaled(9), isOutOfMemory: true), .parked(1), .spawned(1),
            .spawnFailed(1), .unresponsive(1, canAbort: true), .timer(.startup(1)), .timer(.kill(1)), .timer(.abort(1)),
            .timer(.backoff(Self.first)), .timer(.halt), .timer(.shutdownDelay), .timer(.intensity(7)),
            .scale(group: 9, to: 1), .replace(WorkerID(group: 9, slot: 0)), .replace(WorkerID(group: 0, slot: 2)),
        ] {
            #expect(rig.send(event) == [], "\(event)")
        }
        #expect(rig.slot(0).restartsByReason.total == 1)
        #expect(rig.slot(0).restartsByReason[.signal] == 1)
        #expect(rig.slot(0).latestRestart == SlotRestart(reason: .signal, at: rig.now))
        #expect(rig.slot(1).latestRestart == nil)
        #expect(rig.slot(0).starts == 2)
    }

    @Test("A worker that was told to stop says how long that took, and one that dies by itself does not")
    func stopTime() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.scale(group: 0, to: 1))
        rig.advance(.seconds(3))
        let stopped = rig.exit(2, code: 0).notices.compactMap { notice in
            if case .died(let death) = notice { death.stopTime } else { nil }
        }
        #expect(stopped == [.seconds(3)])
        let died = rig.kill(1, signal: 11).notices.compactMap { notice in
            if case .died(let death) = notice { death.stopTime } else { nil }
        }
        #expect(died == [])
    }

    @Test("Each further death waits longer, and the slot is in back-off meanwhile")
    func delays() throws {
        var rig = SupervisorRig.ready(Self.web)
        var incarnation = 1
        for (nominal, count) in zip([10, 20, 40, 80, 160], 1...) {
            rig.exit(incarnation, code: 3)
            #expect(rig.states() == [.backoff, .ready])
            let delay = try #require(rig.delay(.backoff(Self.first)))
            #expect(delay > .milliseconds(nominal) * 0.9 && delay < .milliseconds(nominal) * 1.1)
            #expect(rig.slot(0).currentDelay == delay)
            #expect(rig.slot(0).nextStart == rig.now.advanced(by: delay) && rig.slot(1).nextStart == nil)
            #expect(rig.advance(delay - .nanoseconds(1)).deeds == [])
            incarnation = try #require(rig.advance(.nanoseconds(1)).spawned.first)
            #expect(rig.states() == [.starting, .ready])
            #expect(rig.slot(0).restartsByReason[.exit] == count)
        }
        rig.send(.ready(incarnation))
        #expect(rig.slot(0).currentDelay > .zero)
        rig.advance(.seconds(10))
        #expect(rig.slot(0).currentDelay == .zero)
        #expect(rig.exit(incarnation).deeds.count == 1)
    }

    @Test(
        "Deaths are told apart",
        arguments: [
            ([], .signaled(9), false, .signal), ([], .signaled(9), true, .outOfMemory),
            ([], .exited(code: 0), false, .exit), ([], .exited(code: 1), true, .exit),
            ([.unresponsive(1, canAbort: true)], .signaled(6), false, .heartbeat),
            ([.unresponsive(1, canAbort: true)], .signaled(9), true, .heartbeat),
            ([.unresponsive(1, canAbort: false)], .exited(code: 0), false, .heartbeat),
            ([.replace(WorkerID(group: 0, slot: 0)), .ready(3)], .signaled(9), true, .requested),
            ([.replace(WorkerID(group: 0, slot: 0)), .ready(3)], .exited(code: 0), false, .requested),
            ([.reload, .ready(3)], .exited(code: 0), false, .reload),
            ([.scale(group: 0, to: 0)], .exited(code: 0), false, .requested),
            ([.terminate], .exited(code: 0), false, .requested),
        ] as [([SupervisorEvent], Termination, Bool, DeathReason)])
    func reasons(before: [SupervisorEvent], termination: Termination, oom: Bool, reason: DeathReason) {
        var rig = SupervisorRig.ready(Self.web)
        for event in before { rig.send(event) }
        #expect(rig.send(.exited(1, termination, isOutOfMemory: oom)).reasons == [reason])
        #expect(rig.slot(0).deathsByReason[reason] == 1)
        #expect(rig.slot(0).deathsByReason.total == 1)
    }

    @Test("A start that hangs is aborted, then killed, and counted as such")
    func startupTimeout() {
        var rig = SupervisorRig(WorkerGroupConfiguration(name: "web", workers: 1))
        #expect(rig.advance(.seconds(60) - .nanoseconds(1)).deeds == [])
        let actions = rig.advance(.nanoseconds(1))
        #expect(actions.deeds == [.abort(1)])
        #expect(actions.notices == [.startupTimedOut(.slot(Self.first), incarnation: 1)])
        #expect(rig.send(.ready(1)) == [])
        #expect(rig.states() == [.aborting])
        #expect(rig.advance(.seconds(15)).deeds == [.kill(1)])
        #expect(rig.kill(1).restarts == [.startupTimeout])
        #expect(rig.timers.count == 1)
    }

    @Test("Without a start-up timeout a start may take as long as it likes")
    func noStartupTimeout() {
        var rig = SupervisorRig(WorkerGroupConfiguration(name: "web", workers: 1, startupTimeout: .zero))
        #expect(rig.timers.isEmpty)
        #expect(rig.advance(.seconds(100_000)) == [])
        #expect(rig.send(.ready(1)).notices == [.ready(Self.first, incarnation: 1)])
    }

    @Test("A hung worker is aborted, then killed; a stopped one is killed at once")
    func hang() {
        var rig = SupervisorRig.ready(Self.web)
        #expect(rig.send(.unresponsive(1, canAbort: true)).deeds == [.abort(1)])
        #expect(rig.send(.unresponsive(1, canAbort: true)) == [])
        #expect(rig.advance(.seconds(15)).deeds == [.kill(1)])
        #expect(rig.send(.unresponsive(2, canAbort: false)).deeds == [.kill(2)])
        #expect(rig.timers.isEmpty)
        #expect(!rig.state.isReady(group: 0))
        #expect(rig.kill(1, signal: 6).restarts == [.heartbeat])
    }

    @Test("A worker that dies of its abort is not killed afterwards")
    func abortInTime() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.unresponsive(1, canAbort: true))
        rig.kill(1, signal: 6)
        #expect(rig.timers[.abort(1)] == nil)
        #expect(rig.timers.count == 1)
    }

    @Test("Spares and stopping processes are never judged")
    func notJudged() {
        var configuration = Self.web
        configuration.warmSpares = 1
        var rig = SupervisorRig.ready(configuration)
        #expect(rig.send(.unresponsive(3, canAbort: true)) == [])
        rig.send(.replace(Self.first))
        rig.send(.ready(4))
        #expect(rig.send(.unresponsive(1, canAbort: true)) == [])
    }

    @Test("A service that cannot start at all ends the launcher with status 1, in each group")
    func firstStartFails() {
        var rig = SupervisorRig(Self.web, WorkerGroupConfiguration(name: "jobs", workers: 1))
        rig.send(.ready(1))
        let actions = rig.send(.startFailed(3))
        #expect(actions.deeds == [.stop(1), .stop(2), .stop(3)])
        #expect(actions.notices.contains(.shutdownBegan(status: 1)))
        rig.exit(1)
        rig.exit(3, code: 1)
        #expect(rig.exit(2).deeds == [.finish(status: 1)])
    }

    @Test(
        "A worker that fails its first start ends the launcher, whichever worker was first", arguments: [1, 2],
        [true, false])
    func firstStartFailsInOneSlot(failing: Int, isLast: Bool) {
        var rig = SupervisorRig(Self.web)
        if isLast { rig.send(.ready(3 - failing)) }
        #expect(rig.send(.startFailed(failing)).notices.contains(.shutdownBegan(status: 1)))
    }

    @Test("A worker that was added later may fail its first start")
    func addedWorkerFails() {
        var rig = SupervisorRig.ready(Self.web)
        rig.send(.addWorker)
        #expect(!rig.send(.startFailed(3)).notices.contains(.shutdownBegan(status: 1)))
        #expect(rig.state.phase == .running)
    }

    @Test("A service that has started before may fail to start again")
    func laterStartFails() {
        var rig = SupervisorRig.ready(Self.web)
        rig.kill(1)
        rig.advance(.seconds(1))
        #expect(rig.send(.startFailed(3)).notices == [.startFailed(Self.first, incarnation: 3)])
        #expect(rig.exit(3, code: 1).restarts == [.exit])
        #expect(rig.state.phase == .running)
    }

    @Test("A crash during the first start is tried again")
    func firstStartCrashes() {
        var rig = SupervisorRig(Self.web)
        #expect(rig.kill(1, signal: 11).restarts == [.signal])
        #expect(rig.delay(.backoff(Self.first)) != nil)
    }

    @Test("What cannot be spawned is tried again, more and more slowly, and is no restart")
    func spawnFails() throws {
        var rig = SupervisorRig.ready(WorkerGroupConfiguration(name: "web", workers: 1, intensity: nil))
        rig.spawnsThemselves = false
        rig.advance(.seconds(20))
        var incarnation = try #require(rig.kill(1).spawned.first)
        for nominal in [10, 20, 40, 80] {
            let actions = rig.send(.spawnFailed(incarnation))
            let delay = try #require(rig.delay(.backoff(Self.first)))
            #expect(delay >= .milliseconds(nominal) * 0.9 && delay <= .milliseconds(nominal) * 1.1)
            #expect(actions.notices == [.spawnFailed(.slot(Self.first), incarnation: incarnation, delay: delay)])
            incarnation = try #require(rig.advance(delay).spawned.first)
        }
        for _ in 0..<100 {
            rig.send(.spawnFailed(incarnation))
            incarnation = try #require(rig.advance(.seconds(33)).spawned.first)
        }
        #expect(rig.slot(0).restartsByReason.total == 1 && rig.slot(0).deathsByReason.total == 1)
        #expect(rig.slot(0).starts == 1)
        rig.send(.spawned(incarnation))
        rig.send(.ready(incarnation))
        #expect(rig.state.isEveryWorkerReady)
    }

    @Test("Spawning that fails is not tried again at once even where no delay is wanted")
    func spawnFailsWithoutDelay() {
        var rig = SupervisorRig.ready(
            WorkerGroupConfiguration(name: "web", workers: 1, backoff: RestartBackoff(base: .zero)))
        rig.spawnsThemselves = false
        rig.kill(1)
        #expect(rig.send(.spawnFailed(2)).deeds == [])
        #expect(rig.delay(.backoff(Self.first)) == .milliseconds(10))
    }

    @Test("New limits hold from then on; the number of workers stays")
    func reconfigure() {
        var rig = SupervisorRig.ready(Self.web)
        var configuration = Self.web
        configuration.workers = 7
        configuration.abortGrace = .zero
        configuration.policy = .never
        #expect(rig.send(.reconfigure([configuration])) == [])
        #expect(rig.send(.unresponsive(1, canAbort: true)).deeds == [.kill(1)])
        #expect(rig.states().count == 2)
        #expect(rig.exit(2).notices.contains(.shutdownBegan(status: 0)))
    }

    @Test("A timer that was moved after it had fired is armed again")
    func earlyTimer() {
        var rig = SupervisorRig(Self.web)
        let due = rig.now.advanced(by: .seconds(60))
        #expect(rig.send(.timer(.startup(1))) == [.arm(.startup(1), at: due)])
    }
}
