// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("Health registry")
struct HealthRegistryTests {
    private let clock = ManualClock()
    private let log = RecordedLog()
    private let runner: TestRunner
    private let registry: HealthRegistry

    init() throws {
        runner = try TestRunner()
        registry = HealthRegistry(runner: runner.run, clock: clock, logger: log.logger)
    }

    private struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Asks without waiting; what has to be waited for arrives in the box.
    private func ask(
        _ level: HealthLevel, excluding excluded: [String] = [], only name: String? = nil
    ) -> (answer: Box<HealthReport?>, arrival: Signal) {
        let answer = Box<HealthReport?>(nil)
        let arrival = Signal()
        registry.evaluate(level, excluding: excluded, only: name) {
            answer.value = $0
            arrival.send()
        }
        return (answer, arrival)
    }

    /// Asks and waits.
    private func report(
        _ level: HealthLevel, excluding excluded: [String] = [], only name: String? = nil
    ) throws -> HealthReport {
        let (answer, arrival) = ask(level, excluding: excluded, only: name)
        #expect(arrival.wait())
        return try #require(answer.value)
    }

    // MARK: Registration

    @Test(
        "Names that fit a path are taken, others are refused with the rule",
        arguments: [
            ("db", true), ("a", true), ("9lives", true), ("Db.primary_1:read-only", true),
            (String(repeating: "x", count: 63), true), (String(repeating: "x", count: 64), false), ("", false),
            (".hidden", false), ("-x", false), ("a/b", false), ("a b", false), ("über", false), ("a\"b", false),
            ("a\n", false), ("a?", false),
        ])
    func names(name: String, isValid: Bool) {
        if isValid {
            #expect(throws: Never.self) { try registry.register(.probe(name, .live) { .pass }) }
            #expect(registry.names(at: .live) == [name])
        } else {
            #expect(throws: HealthError.invalidName(name)) { try registry.register(.probe(name, .live) { .pass }) }
            #expect(throws: HealthError.invalidName(name)) { try registry.expect(name, at: .live) }
            #expect(registry.names(at: .live) == ["ping"])
        }
    }

    @Test("A second check of a name is refused and the first one stays")
    func duplicates() throws {
        try registry.register(.probe("db", .live) { .pass })
        let error = #expect(throws: HealthError.self) {
            try registry.register(.probe("db", .ready) { .fail("no") })
        }
        #expect(error == .duplicateName("db"))
        #expect(error?.description.contains("'db' is already registered; choose another name") == true)
        #expect(registry.names(at: .ready) == ["ping"])
        #expect(try report(.live).isPassing)
        #expect(registry.unregister("db"))
        #expect(!registry.unregister("db"))
        try registry.register(.probe("db", .ready) { .fail("no") })
        #expect(try !report(.ready).isPassing)
    }

    @Test("Settings that make no sense are refused")
    func settings() {
        let reporter = HealthReporter(clock: clock)
        var nowhere = HealthCheck.probe("db", .live) { .pass }
        nowhere.levels = []
        let bad: [HealthCheck] = [
            nowhere, .asynchronous("db", .live, timeout: .zero) {},
            .asynchronous("db", .live, maximumAge: .seconds(-1)) {},
            .reported("db", .live, maximumAge: .zero, by: reporter),
        ]
        for check in bad {
            let error = #expect(throws: HealthError.self) { try registry.register(check) }
            #expect(error?.description.contains("'db'") == true)
        }
        #expect(registry.names(at: .live) == ["ping"])
    }

    // MARK: Probes

    @Test("A level without checks passes by a ping", arguments: HealthLevel.allCases)
    func ping(level: HealthLevel) throws {
        let report = try report(level)
        #expect(report.status == .pass)
        #expect(report.entries.map(\.name) == ["ping"])
        #expect(try self.report(level, only: "ping").entries.count == 1)
    }

    @Test("A check speaks for its levels only, in the order of registration")
    func levels() throws {
        try registry.register(.probe("b", .live, .ready) { .pass })
        try registry.register(.probe("a", .ready) { .warn("soon") })
        try registry.register(.probe("c", .startup) { .fail("not yet") })
        #expect(try report(.live).entries.map(\.name) == ["b"])
        #expect(try report(.ready).entries.map(\.name) == ["b", "a"])
        #expect(try report(.ready).status == .warn)
        #expect(try report(.startup).status == .fail)
    }

    @Test("A probe is asked anew at each request, and not at all when excluded")
    func probes() throws {
        let calls = Box(0)
        try registry.register(
            .probe("count", .live) {
                calls.change { $0 += 1 }
                return calls.value < 3 ? .pass : .fail("call \(calls.value)")
            })
        #expect(try report(.live).isPassing)
        #expect(try report(.live, excluding: ["count"]).entries.map(\.isExcluded) == [true])
        #expect(calls.value == 1)
        #expect(try report(.live).isPassing)
        #expect(try report(.live).entries.map(\.result) == [.fail("call 3")])
    }

    @Test("Unknown exclusions are told once each and change nothing")
    func unknownExclusions() throws {
        try registry.register(.probe("db", .live) { .fail("down") })
        let report = try report(.live, excluding: ["x", "db", "x", "y"])
        #expect(report.isPassing)
        #expect(report.unmatchedExclusions == ["x", "y"])
    }

    @Test("One check alone; an unknown one has no entries")
    func single() throws {
        try registry.register(.probe("good", .live) { .pass })
        try registry.register(.probe("bad", .live) { .fail("down") })
        #expect(try report(.live, only: "good").isPassing)
        #expect(try !report(.live, only: "bad").isPassing)
        #expect(try report(.live, only: "ugly").entries.isEmpty)
        #expect(try report(.live, only: "ping").entries.isEmpty)
    }

    @Test("A check may use the registry while it is asked")
    func reentrance() throws {
        try registry.register(
            .probe("curious", .live) { [registry] in
                registry.unregister("curious") ? .pass : .fail("gone already")
            })
        #expect(try report(.live).isPassing)
        #expect(registry.names(at: .live) == ["ping"])
    }

    // MARK: Asynchronous checks

    @Test("An asynchronous check passes by returning and fails by throwing, with the error's text")
    func asynchronous() throws {
        let failure = Box<String?>(nil)
        try registry.register(
            .asynchronous("db", .ready) {
                if let text = failure.value { throw Failure(description: text) }
            })
        #expect(try report(.ready).isPassing)
        failure.value = "connection\nrefused"
        #expect(try report(.ready).entries.map(\.result) == [.fail("connection refused")])
        #expect(runner.started == ["health-db", "health-db"])
    }

    @Test("Concurrent requests join one run")
    func joined() throws {
        let door = Door()
        try registry.register(.asynchronous("db", .live, .ready) { await door.pass() })
        let first = ask(.ready)
        #expect(door.arrival.wait())
        let second = ask(.ready)
        let third = ask(.live)
        #expect(first.answer.value == nil)
        door.open()
        for request in [first, second, third] {
            #expect(request.arrival.wait())
            #expect(request.answer.value?.isPassing == true)
        }
        #expect(runner.started.count == 1)
    }

    @Test("A run that takes too long fails, and its late result counts when it comes")
    func timeout() throws {
        let door = Door()
        try registry.register(
            .asynchronous("db", .ready, timeout: .seconds(1), maximumAge: .seconds(10)) { await door.pass() })
        let first = ask(.ready)
        #expect(door.arrival.wait())
        #expect(clock.sleep.wait())
        clock.advance(by: .milliseconds(999))
        #expect(first.answer.value == nil)
        clock.advance(by: .milliseconds(1))
        #expect(first.arrival.wait())
        #expect(first.answer.value?.entries.map(\.result) == [.fail("timed out after 1s")])

        // Who comes while it hangs does not wait anew, and starts no second run.
        let second = ask(.ready)
        #expect(second.answer.value?.entries.map(\.result) == [.fail("timed out after 1s")])
        #expect(runner.started.count == 1)

        door.open()
        // The job has returned when the next request finds its result; before that it would join the run and fail.
        var answer = ask(.ready).answer.value
        while answer?.isPassing == false { answer = ask(.ready).answer.value }
        #expect(answer?.isPassing == true)
        #expect(runner.started.count == 1)
    }

    @Test("Whoever joins late gets what is left of the run's time")
    func joinedLate() throws {
        let door = Door()
        try registry.register(.asynchronous("db", .ready, timeout: .seconds(1)) { await door.pass() })
        let first = ask(.ready)
        #expect(clock.sleep.wait())
        clock.advance(by: .milliseconds(600))
        let second = ask(.ready)
        #expect(clock.sleep.wait())
        clock.advance(by: .milliseconds(400))
        #expect(first.arrival.wait())
        #expect(second.arrival.wait())
        #expect(second.answer.value?.entries.map(\.result) == [.fail("timed out after 1s")])
        door.open()
    }

    @Test("The slowest check decides when the report comes; the others keep their results")
    func several() throws {
        let door = Door()
        try registry.register(.asynchronous("quick", .ready, timeout: .seconds(1)) {})
        try registry.register(.asynchronous("short", .ready, timeout: .seconds(2)) { await door.pass() })
        try registry.register(.asynchronous("long", .ready, timeout: .seconds(5)) { await door.pass() })
        try registry.register(.probe("probe", .ready) { .pass })
        let request = ask(.ready)
        #expect(door.arrival.wait())
        #expect(door.arrival.wait())
        #expect(clock.sleep.wait())
        clock.advance(by: .seconds(2))
        #expect(clock.sleep.wait())
        #expect(request.answer.value == nil)
        clock.advance(by: .seconds(3))
        #expect(request.arrival.wait())
        #expect(
            request.answer.value?.entries.map(\.result)
                == [.pass, .fail("timed out after 2s"), .fail("timed out after 5s"), .pass])
        door.open()
    }

    @Test("A result young enough is used again, an older one is not")
    func age() throws {
        let calls = Box(0)
        try registry.register(
            .asynchronous("db", .ready, maximumAge: .seconds(10)) {
                calls.change { $0 += 1 }
                if calls.value == 1 { throw Failure(description: "first") }
            })
        #expect(try report(.ready).entries.map(\.result) == [.fail("first")])
        clock.advance(by: .seconds(10))
        #expect(try report(.ready).entries.map(\.result) == [.fail("first")])
        #expect(calls.value == 1)
        clock.advance(by: .nanoseconds(1))
        #expect(try report(.ready).isPassing)
        #expect(calls.value == 2)
    }

    @Test("A runner that drops its job makes the check fail at once")
    func dropped() throws {
        let registry = HealthRegistry(runner: { _, _ in }, clock: clock, logger: log.logger)
        try registry.register(.asynchronous("db", .ready) {})
        for _ in 0..<2 {
            let answer = Box<HealthReport?>(nil)
            registry.evaluate(.ready) { answer.value = $0 }
            #expect(answer.value?.entries.map(\.result) == [.fail("check did not run: the backend dropped its job")])
        }
    }

    @Test("A runner that never runs its jobs delays no report beyond the time-out")
    func blockedRunner() throws {
        let kept = Box<[@Sendable () async -> Void]>([])
        let registry = HealthRegistry(
            runner: { _, job in kept.change { $0.append(job) } }, clock: clock, logger: log.logger)
        try registry.register(.asynchronous("db", .ready, timeout: .seconds(1)) {})
        let answer = Box<HealthReport?>(nil)
        let arrival = Signal()
        registry.evaluate(.ready) {
            answer.value = $0
            arrival.send()
        }
        #expect(clock.sleep.wait())
        clock.advance(by: .seconds(1))
        #expect(arrival.wait())
        #expect(answer.value?.entries.map(\.result) == [.fail("timed out after 1s")])
        #expect(kept.value.count == 1)
    }

    @Test("A request that is given up gets no answer, and its timer ends")
    func cancelled() throws {
        let door = Door()
        try registry.register(.asynchronous("db", .ready) { await door.pass() })
        let answer = Box<HealthReport?>(nil)
        let evaluation = registry.evaluate(.ready) { answer.value = $0 }
        #expect(clock.sleep.wait())
        let pending = try #require(evaluation)
        pending.cancel()
        #expect(clock.cancellation.wait())
        #expect(clock.sleeperCount == 0)
        let second = ask(.ready)
        door.open()
        #expect(second.arrival.wait())
        #expect(answer.value == nil)
        #expect(runner.started.count == 1)
    }

    @Test("A check that is unregistered during its run still answers who waits, and leaves nothing behind")
    func unregistered() throws {
        let door = Door()
        try registry.register(.asynchronous("db", .ready, maximumAge: .seconds(10)) { await door.pass() })
        let request = ask(.ready)
        #expect(door.arrival.wait())
        registry.unregister("db")
        try registry.register(
            .asynchronous("db", .ready, maximumAge: .seconds(10)) { throw Failure(description: "the new one") })
        door.open()
        #expect(request.arrival.wait())
        #expect(request.answer.value?.isPassing == true)
        #expect(try report(.ready).entries.map(\.result) == [.fail("the new one")])
    }

    @Test("The awaiting form gives the same report")
    func awaiting() async throws {
        try registry.register(.asynchronous("db", .ready) {})
        #expect(await registry.evaluate(.ready).isPassing)
        #expect(await registry.evaluate(.live).entries.map(\.name) == ["ping"])
    }

    // MARK: Reported checks

    @Test("A reported check fails without a report and with one that is too old")
    func reported() throws {
        let reporter = HealthReporter(clock: clock)
        try registry.register(.reported("heartbeat", .ready, maximumAge: .seconds(30), by: reporter))
        #expect(try report(.ready).entries.map(\.result) == [.fail("never reported")])
        reporter.report(.pass)
        #expect(try report(.ready).isPassing)
        clock.advance(by: .seconds(30))
        #expect(try report(.ready).isPassing)
        clock.advance(by: .milliseconds(1500))
        #expect(try report(.ready).entries.map(\.result) == [.fail("last reported 31.5s ago, more than 30s")])
        reporter.report(.warn("slow"))
        #expect(try report(.ready).status == .warn)
        reporter.report(.fail("broken\n"))
        #expect(try report(.ready).entries.map(\.result) == [.fail("broken ")])
    }

    // MARK: Startup and expectations

    @Test("Startup passes for good once it has passed as a whole")
    func latch() throws {
        let isUp = Box(false)
        let calls = Box(0)
        try registry.register(
            .probe("warm", .startup) {
                calls.change { $0 += 1 }
                return isUp.value ? .pass : .fail("cold")
            })
        #expect(try !report(.startup).isPassing)
        // Neither an exclusion nor a single check says that the start is over.
        #expect(try report(.startup, excluding: ["warm"]).isPassing)
        #expect(try !report(.startup).isPassing)
        isUp.value = true
        #expect(try report(.startup, only: "warm").isPassing)
        isUp.value = false
        #expect(try !report(.startup).isPassing)
        isUp.value = true
        #expect(try report(.startup).isPassing)
        isUp.value = false
        let before = calls.value
        #expect(try report(.startup).isPassing)
        #expect(try report(.startup).entries.map(\.name) == ["warm"])
        try registry.register(.probe("late", .startup) { .fail("no") })
        #expect(try report(.startup).isPassing)
        #expect(calls.value == before)
    }

    @Test("An expected check fails until it is registered, but kills nothing")
    func expected() throws {
        for level in HealthLevel.allCases { try registry.expect("db", at: level) }
        try registry.expect("db", at: .ready)
        #expect(try report(.ready).entries.map(\.result) == [.fail("not yet reported")])
        #expect(try report(.startup).entries.map(\.result) == [.fail("not yet reported")])
        #expect(try report(.live).entries.map(\.result) == [.warn("not yet registered")])
        try registry.register(.probe("db", .ready) { .pass })
        #expect(try report(.ready).entries.map(\.result) == [.pass])
        #expect(try !report(.startup).isPassing)
        registry.cancelExpectation("db", at: .startup)
        #expect(try report(.startup).entries.map(\.name) == ["ping"])
        try registry.expect("db", at: .ready)
        #expect(registry.names(at: .ready) == ["db"])
    }

    // MARK: The log

    @Test("A failure is logged once, with its reason, and so is its end")
    func logged() throws {
        let result = Box<HealthResult>(.pass)
        try registry.register(.probe("db", .live, .ready) { result.value })
        _ = try report(.live)
        #expect(log.messages.isEmpty)
        result.value = .fail("no route")
        _ = try report(.live)
        result.value = .fail("still no route")
        _ = try report(.ready)
        #expect(log.messages == ["warning: health check failed check=db reason=no route"])
        _ = try report(.live, excluding: ["db"])
        result.value = .warn("slow")
        _ = try report(.ready)
        _ = try report(.live)
        #expect(
            log.messages == [
                "warning: health check failed check=db reason=no route", "notice: health check recovered check=db",
            ])
    }

    @Test("An expected check that arrives is logged as passing again")
    func expectationLogged() throws {
        try registry.expect("db", at: .ready)
        try registry.expect("db", at: .live)
        _ = try report(.ready)
        _ = try report(.live)
        _ = try report(.ready)
        try registry.register(.probe("db", .ready) { .pass })
        _ = try report(.ready)
        #expect(
            log.messages == [
                "warning: health check failed check=db reason=not yet reported",
                "notice: health check recovered check=db",
            ])
    }

    // MARK: Followers

    @Test("A follower hears of everything that is registered, expected and removed")
    func changes() throws {
        let changes = Box(0)
        registry.onChange { changes.change { $0 += 1 } }
        try registry.expect("later", at: .ready)
        #expect(registry.contents.expected == ["later": [.ready]])
        try registry.register(.probe("later", .ready) { .pass })
        #expect(registry.contents.expected.isEmpty)
        let first = try #require(registry.contents.checks["later"]?.generation)
        registry.unregister("later")
        #expect(registry.contents.checks.isEmpty)
        try registry.register(.probe("later", .ready) { .pass })
        #expect(registry.contents.checks["later"]?.generation != first)
        #expect(changes.value == 4)
        try registry.expect("more", at: .startup)
        registry.cancelExpectation("more", at: .startup)
        registry.unregister("unknown")
        #expect(changes.value == 6)
    }

    @Test("A reporter reports to each of its observers until it is removed")
    func observers() {
        let reporter = HealthReporter(clock: clock)
        reporter.report(.pass)
        let (first, second) = (Box<[HealthResult]>([]), Box<[HealthResult]>([]))
        let observer = reporter.addObserver { report in first.change { $0.append(report.result) } }
        _ = reporter.addObserver { report in second.change { $0.append(report.result) } }
        reporter.report(.fail("down"))
        reporter.removeObserver(observer)
        reporter.report(.pass)
        #expect(first.value == [.pass, .fail("down")])
        #expect(second.value == [.pass, .fail("down"), .pass])
    }
}
