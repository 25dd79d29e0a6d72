// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterLock
import MusterPlatform
import MusterSupervision
import MusterTestKit
import MusterTestSupport
import Testing

@testable import Muster

@Suite("Periodic tasks")
struct PeriodicTaskTests {
    @Test("They run on their schedules; one that is not meant for this process is not there", arguments: bothBackends)
    func schedules(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "test", backend: backend)
            let runs = Recorder<String>()
            let loops = try group.addPeriodicTasks([
                PeriodicTask("often", .every(.milliseconds(1))) { runs.append("often") },
                PeriodicTask("at once", .every(.seconds(3600)), startsAtOnce: true) { runs.append("at once") },
                PeriodicTask("later", .every(.seconds(3600))) { runs.append("later") },
                PeriodicTask("nightly", try .daily(at: "03:00", in: "Europe/Berlin")) { runs.append("nightly") },
                PeriodicTask("off", .every(.milliseconds(1)), isEnabled: false) { runs.append("off") },
                PeriodicTask("other slot", .every(.milliseconds(1)), on: .slot(1)) { runs.append("other") },
                PeriodicTask("this slot", .every(.seconds(3600)), on: .slot(0), startsAtOnce: true) {
                    runs.append("slot")
                },
            ])
            #expect(loops.map(\.name) == ["often", "at once", "later", "nightly", "this slot"])
            _ = try await runs.first(20)
            while Set(runs.all).count < 3 { _ = try await runs.first(runs.count + 1) }
            try await group.stop(graceful: true)
            #expect(runs.all.filter { $0 == "at once" }.count == 1)
            #expect(runs.all.filter { $0 == "slot" }.count == 1)
            #expect(Set(runs.all) == ["often", "at once", "slot"])
        }
    }

    @Test(
        "One that is external runs unless the settings leave it to another program",
        arguments: bothBackends, [true, false])
    func external(type: BackendType, runsHere: Bool) async throws {
        var settings = MusterSettings()
        settings.runsExternalPeriodicTasks = runsHere
        let (clock, runs) = (ManualClock(), Recorder<String>())
        let service: @Sendable (Backend) -> any ServiceBase = { _ in
            let group = ThreadGroup(name: "test")
            return ProbeService(
                "a", Recorder(),
                onStart: {
                    try group.addPeriodicTasks([
                        // Without a schedule, each minute.
                        PeriodicTask("external", isExternal: true) { runs.append("external") },
                        PeriodicTask("own") { runs.append("own") },
                    ])
                }, onStop: { try await group.stop() })
        }
        try await TestSupervisor.run(type, settings: settings, clock: clock, service: service) { supervisor in
            await clock.advance(by: .seconds(59))
            #expect(runs.all == [])
            await clock.advance(by: .seconds(1))
            #expect(runs.all.sorted() == (runsHere ? ["external", "own"] : ["own"]))
            await supervisor.stop()
        }
    }

    @Test("A task can end itself for good, and the others go on", arguments: bothBackends)
    func done(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "test", backend: backend)
            let runs = Recorder<Void>()
            let loops = try group.addPeriodicTasks([
                PeriodicTask("once", .every(.milliseconds(1))) { throw LoopingCallDone("over") },
                PeriodicTask("more", .every(.milliseconds(1))) { runs.append(()) },
            ])
            #expect(try await loops[0].wait().value as? String == "over")
            let count = runs.count
            _ = try await runs.first(count + 2)
            try await group.stop()
        }
    }

    @Test("Errors are counted and told, in a row, and end nothing", arguments: bothBackends)
    func failures(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "test", backend: backend)
            let (runs, told) = (Recorder<Void>(), Recorder<String>())
            try group.addPeriodicTask(
                PeriodicTask(
                    "bad", .every(.seconds(3600)), startsAtOnce: true,
                    retry: RetryDelay(from: .milliseconds(1), to: .milliseconds(2)),
                    onFailure: { error, count in told.append("\(error) \(count)") }
                ) {
                    runs.append(())
                    if runs.count != 3 { throw TestFailure("no") }
                    throw LoopingCallDone()
                })
            _ = try await group.timers[0].wait()
            #expect(told.all == ["no 1", "no 2"])
        }
    }

    @Test("With a limit, so many run at a time", arguments: bothBackends)
    func limit(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "test", backend: backend)
            let running = Locked((now: 0, most: 0))
            let runs = Recorder<Int>()
            try group.addPeriodicTasks(
                (0..<5).map { number in
                    PeriodicTask("task \(number)", .every(.milliseconds(1))) {
                        running.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
                        await backend.engine.yield()
                        try await backend.engine.sleep(for: .microseconds(100))
                        running.withLock { $0.now -= 1 }
                        runs.append(number)
                    }
                }, concurrency: 2)
            while Set(runs.all).count < 5 { _ = try await runs.first(runs.count + 5) }
            // Also what waits for its turn ends.
            try await group.stop()
            #expect(running.withLock { $0.most } <= 2)
        }
    }

    @Test(
        "One that runs once over all workers waits for its lease, and goes on where another one was",
        arguments: bothBackends)
    func lease(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "test", backend: backend)
            let sent = Recorder<ControlMessage>()
            backend.lease.connect { sent.append($0) }
            let runs = Recorder<String>()
            let loops = try group.addPeriodicTasks(
                [
                    PeriodicTask("interrupted", .every(.seconds(3600)), on: .oneWorker) { runs.append("interrupted") },
                    PeriodicTask("poison", .every(.seconds(3600)), on: .oneWorker) { runs.append("poison") },
                    PeriodicTask("done", .every(.milliseconds(1)), on: .oneWorker) { runs.append("done") },
                    PeriodicTask("own", .every(.milliseconds(1))) { runs.append("own") },
                ])
            _ = try await runs.first(5)
            _ = try await sent.first(1)
            #expect(Set(runs.all) == ["own"])
            #expect(sent.all == [.seekLease])
            let now = Int64(WallClock.secondsSinceEpoch * 1e9)
            let keys = ["interrupted", "poison", "done"].map { TaskLeases.key(group: "test", task: $0) }
            backend.lease.grant("running \(now) 1 \(keys[0])\nrunning \(now) 3 \(keys[1])\ndone \(now) 0 \(keys[2])")
            _ = try await sent.first(3)
            #expect(
                sent.all.dropFirst() == [.taskRun(.running, task: keys[0]), .taskRun(.ended, task: keys[0])])
            _ = try await loops[2].wait()
            try await group.stop(graceful: true)
            #expect(Set(runs.all) == ["own", "interrupted"])
        }
    }

    @Test("Tasks of one name in two thread groups have nothing to do with each other", arguments: bothBackends)
    func sameName(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let runs = Recorder<String>()
            func add(to group: String, _ body: @escaping @Sendable () async throws -> Void) throws -> LoopingCall? {
                try ThreadGroup(name: group, backend: backend).addPeriodicTask(
                    PeriodicTask("same", .every(.seconds(3600)), on: .oneWorker, startsAtOnce: true, body))
            }
            _ = try await add(to: "first") { throw LoopingCallDone() }?.wait()
            let other = try add(to: "second") { runs.append("second") }
            _ = try await runs.first(1)
            other?.stop()
            // It has ended for good.
            #expect(try await add(to: "first") { runs.append("first") }?.wait().value as? Bool == true)
            #expect(runs.all == ["second"])
        }
    }

    @Test("A run that is cut off is to be done again, whatever error it makes of that", arguments: bothBackends)
    func cutOff(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let (sent, failures) = (Recorder<ControlMessage>(), Recorder<Void>())
            backend.lease.connect { sent.append($0) }
            backend.lease.grant("")
            let group = ThreadGroup(name: "test", backend: backend)
            try group.addPeriodicTask(
                PeriodicTask(
                    "cut off", .every(.seconds(3600)), on: .oneWorker, startsAtOnce: true,
                    onFailure: { _, _ in failures.append(()) }
                ) {
                    do { try await Completion<Void>().wait() } catch { throw TestFailure("connection closed") }
                })
            _ = try await sent.first(2)
            try await group.stop()
            #expect(
                sent.all == [
                    .seekLease, .taskRun(.running, task: TaskLeases.key(group: "test", task: "cut off")),
                ])
            #expect(failures.all.isEmpty)
        }
    }

    @Test("While it naps, the gauge shows when a task is due, and not when it wakes", arguments: bothBackends)
    func nextRun(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let group = ThreadGroup(name: "test", backend: backend)
            // Twelve hours from now or so.
            let present = Int64(WallClock.secondsSinceEpoch(at: clock.now, lead: clock.lead))
            let minute = (present / 60 + 720) % 1440
            let time = "\(minute / 60):\(minute % 60)"
            let runs = Recorder<Void>()
            try group.addPeriodicTask(PeriodicTask("daily", try .daily(at: time)) { runs.append(()) })
            func next() throws -> Double {
                try #require(
                    backend.metrics.value("muster_loop_next_run_timestamp_seconds", ["loop": "daily"]).number)
            }
            let due = Double((present / 60 + 720) * 60)
            // The gauge is of the machine's clocks, which may be set meanwhile.
            for _ in 0..<3 {
                await clock.advance(by: .seconds(1000))
                #expect(abs(try next() - due) < 60)
            }
            await clock.advance(by: .seconds(43_200))
            #expect(runs.count == 1)
            #expect(abs(try next() - due - 86_400) < 60)
        }
    }

    @Test("One whose schedule cannot be shown runs all the same", arguments: bothBackends)
    func notShown(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let group = ThreadGroup(name: "test", backend: backend)
            let runs = Recorder<Void>()
            let schedule = try Schedule.cron(String(repeating: " ", count: 5000) + "* * * * *")
            try group.addPeriodicTask(PeriodicTask("long", schedule, startsAtOnce: true) { runs.append(()) })
            _ = try await runs.first(1)
            try await group.stop()
        }
    }

    @Test("Names and intervals that cannot be used are refused, and then none is added")
    func refused() async throws {
        try await TestBackend.with(.cooperative) { backend in
            let group = ThreadGroup(name: "test", backend: backend)
            let good = PeriodicTask("good", .every(.seconds(1))) {}
            for name in ["", "a\nb", String(repeating: "x", count: 200)] {
                #expect(throws: PeriodicTaskError.badName(name)) {
                    try group.addPeriodicTasks([good, PeriodicTask(name, .every(.seconds(1))) {}])
                }
            }
            for interval in [Duration.zero, .seconds(-1), .microseconds(999)] {
                #expect(throws: PeriodicTaskError.intervalTooShort(task: "short")) {
                    try group.addPeriodicTask(PeriodicTask("short", .every(interval)) {})
                }
            }
            #expect(group.timers.isEmpty)
        }
    }
}
