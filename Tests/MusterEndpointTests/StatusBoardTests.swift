// SPDX-License-Identifier: Apache-2.0

import MusterMetrics
import MusterPlatform
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("The status of a service")
struct StatusBoardTests {
    private let source = TestStatusSource()
    private let health = HealthRegistry(runner: { _, _ in }, logger: RecordedLog().logger)
    private let clock = ManualClock()
    private let board: StatusBoard

    init() {
        board = StatusBoard(source: source, health: health, clock: clock)
    }

    private func change(_ body: (inout StatusLook) -> Void) { source.found.change(body) }

    @Test("stands for a moment, however many ask")
    func memo() {
        for _ in 0..<10 { _ = board.report() }
        #expect(source.looks.value == 1)
        clock.advance(by: .milliseconds(99))
        _ = board.report()
        #expect(source.looks.value == 1)
        clock.advance(by: .milliseconds(1))
        _ = board.report()
        #expect(source.looks.value == 2)
    }

    // MARK: History

    @Test("has a history of one point in two seconds at most, taken when somebody looks or scrapes")
    func points() {
        for _ in 0..<5 {
            _ = board.report()
            clock.advance(by: .milliseconds(500))
        }
        // At 0 and at 2 s.
        #expect(board.report().history.at.count == 2)
        clock.advance(by: .seconds(2))
        board.takePoint()
        board.takePoint()
        #expect(board.report().history.at.count == 3)
        clock.advance(by: .seconds(600))
        #expect(board.report().history.at.count == 4)
    }

    @Test("keeps the last 300 points")
    func bound() {
        for index in 0..<350 {
            change { $0.report.groups[0].restarts = index }
            board.takePoint()
            clock.advance(by: .seconds(2))
        }
        let history = board.report().history
        #expect(history.restarts.count == 300)
        #expect(history.restarts == Array(51..<350) + [349])
        #expect(history.threads.count == 300 && history.readyWorkers.allSatisfy { $0 == 2 })
    }

    @Test("tells the lateness of the runs since the point before, and nothing of a time without runs")
    func lateness() throws {
        func histogram(_ counts: [UInt64]) -> HistogramSnapshot {
            HistogramSnapshot(count: counts.reduce(0, +), sum: 0, bounds: [1, 2], bucketCounts: counts)
        }
        change { $0.lateness = histogram([100, 0, 0]) }
        _ = board.report()
        clock.advance(by: .seconds(2))
        change { $0.lateness = histogram([100, 100, 0]) }
        _ = board.report()
        clock.advance(by: .seconds(2))
        let history = board.report().history
        #expect(history.latenessP99Seconds == [nil, 1.99, nil])
    }

    @Test("tells the processors that a worker has used since the point before")
    func processors() {
        #expect(board.report().workers[0].cpuCores == nil)
        clock.advance(by: .seconds(4))
        change { $0.report.workers[0].process?.cpuSeconds = 3 }
        #expect(board.report().workers.map(\.cpuCores) == [0.5, 0])
        clock.advance(by: .seconds(1))
        #expect(board.report().workers[0].cpuCores == 0.5, "until there is another point")
    }

    // MARK: Health

    @Test("shows each check once with its levels, and asks none that takes its time")
    func checks() throws {
        try health.register(.probe("disk", .ready, .startup) { .warn("nearly full") })
        try health.register(.asynchronous("database", .ready) { Issue.record("was asked") })
        let status = board.report().health
        #expect(status.checks.map(\.name) == ["disk", "database"])
        #expect(status.checks[0].levels == ["ready", "startup"])
        #expect(status.checks[0].reason == "nearly full")
        #expect(status.checks[1].state == .unknown)
        #expect([status.live, status.ready, status.startup] == [.pass, .warn, .warn])
    }

    @Test("is told in a word")
    func words() throws {
        let verdicts = Box<[HealthLevel: HealthResult]>([:])
        for level in HealthLevel.allCases {
            try health.register(.probe(level.rawValue, level) { verdicts.value[level] ?? .pass })
        }
        func word(_ change: (inout [HealthLevel: HealthResult]) -> Void = { _ in }) -> ServiceState {
            verdicts.change { verdicts in
                verdicts = [:]
                change(&verdicts)
            }
            clock.advance(by: .seconds(1))
            return board.report().state
        }
        #expect(word { $0[.startup] = .fail("not yet") } == .starting)
        #expect(word() == .ready)
        #expect(word { $0[.startup] = .fail("again") } == .degraded, "it has started")
        #expect(word { $0[.ready] = .warn("slow") } == .degraded)
        #expect(word { $0[.ready] = .fail("no") } == .unready)
        #expect(
            word {
                $0[.ready] = .fail("no")
                $0[.live] = .fail("no")
            } == .failing)
        change { $0.report.groups[0].readyWorkers = 1 }
        #expect(word() == .degraded)
        change { $0.isStopping = true }
        #expect(word { $0[.live] = .fail("no") } == .stopping)
    }

    // MARK: JSON

    @Test("reads back from its JSON, and leaves out what is not known")
    func json() throws {
        board.takePoint()
        let report = board.report()
        let json = try report.json()
        #expect(try StatusReport(json: json) == report)
        let text = String(decoding: json, as: UTF8.self)
        #expect(text.contains("\"schemaVersion\":1"))
        #expect(text.contains("\"latenessP99Seconds\":[null]"))
        #expect(!text.contains("backoffSeconds"))
        #expect(text.hasSuffix("}\n"))
    }
}
