// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

/// Long storms for people (`scripts/storm`), short ones for every day; each prints its figures.
@Suite(
    "A storm", .serialized, .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
    .enabled(if: Wrk.isInstalled, "install wrk for this test"), .timeLimit(.minutes(10)))
struct StormTests {
    /// How long the two main ones last.
    static let seconds = Storm.seconds ?? 10
    /// How long the others last: as long, or shorter by default.
    static var secondsWithSpares: Double { seconds <= 15 ? seconds / 2 : seconds }

    private static let pause = Duration.milliseconds(100)
    private static let connections = 16
    private static let route = ["route": "/items/KEY", "code": "200"]

    private func demo(_ options: [String]) async throws -> (Demo, item: String) {
        let demo = try await Demo(backend: nil, options: ["--workers", "4"] + options)
        let item = demo.ready.http + "/items/calm"
        #expect(try await HTTPAnswer.get(item, method: "PUT", body: "hello").status == 204)
        return (demo, item)
    }

    private func port(of demo: Demo) throws -> Int {
        try #require(URLComponents(string: demo.ready.http)?.port)
    }

    private func whole(_ demo: Demo) async throws -> Samples {
        try await demo.metrics("four ready workers") { $0.workers("ready") == 4 && $0.workers("stopping") == 0 }
    }

    // MARK: Kills

    @Test("of kills fails only the requests that the killed worker had, and no total falls", arguments: [0, 2])
    func kills(spares: Int) async throws {
        let seconds = spares == 0 ? Self.seconds : Self.secondsWithSpares
        let (demo, item) = try await demo(["--warm-spares", "\(spares)"])
        let prometheus: Prometheus? =
            Prometheus.isInstalled
            ? try await Prometheus(targets: ["demo": demo.ready.endpoint.replacingOccurrences(of: "http://", with: "")])
            : nil
        let before = try await whole(demo)
        if let prometheus {
            _ = try await eventually("the first scrape") { try await prometheus.query("up == 1").first }
        }
        let wrk = try Wrk(item, connections: Self.connections)
        _ = try await demo.metrics("load") { $0.sum("demo_http_requests_total", Self.route) > 1000 }

        let port = try port(of: demo)
        let began = ContinuousClock.now
        var killed: Set<ProcessFiles> = []
        var exposed = 0
        var next = began
        var previous: ProcessFiles?
        while began.duration(to: .now) < .seconds(seconds) {
            // While wrk has all its connections, and none of them to a process that is dying, it makes no new ones:
            // nobody gets one between the look and the kill.
            let victim = try await eventually("a worker to kill, with all connections up") {
                () -> (process: ProcessFiles, connections: Int)? in
                guard previous?.sockets.isEmpty != false else { return nil }
                guard let process = demo.workers.filter({ !killed.contains($0) }).randomElement() else { return nil }
                let connections = process.connections(at: port)
                guard connections.all == Self.connections else { return nil }
                // Whoever has not been accepted yet may be by the time of the kill.
                return (process, connections.accepted + connections.waiting)
            }
            kill(victim.process.pid, SIGKILL)
            killed.insert(victim.process)
            previous = victim.process
            exposed += victim.connections
            next = max(next.advanced(by: Self.pause), .now - Self.pause)
            try await Task.sleep(until: next)
        }
        let lasted = began.duration(to: .now)
        let report = try await wrk.report()
        let after = try await whole(demo)
        let restarts = after.restarts
        print(
            "storm of kills, \(spares) spares, \(lasted): \(killed.count) kills of workers with \(exposed) "
                + "connections; \(report); restarts \(restarts)")

        #expect(killed.count > 3)
        #expect(report.requests > 1000)
        // A connection that is made between the look and a kill is not in the count; there are never more than these.
        #expect(report.readErrors + report.writeErrors <= exposed + Self.connections)
        #expect(report.connectErrors == 0)
        #expect(report.timeouts == 0)
        #expect(report.refusals == 0)
        // Each kill is one restart, and nothing else is one.
        #expect(restarts == ["signal": killed.count])
        #expect(
            after.sum("muster_worker_starts_total") - before.sum("muster_worker_starts_total") == killed.count)
        // An answer is counted and sent: a kill may come between.
        let counted = after.sum("demo_http_requests_total", Self.route)
        #expect(abs(counted - report.requests) <= exposed + Self.connections)
        if let prometheus { try await nothingFell(in: prometheus, counted: counted, seconds: seconds) }

        demo.signal(SIGTERM)
        #expect(try await demo.status() == 0)
    }

    private func nothingFell(in prometheus: Prometheus, counted: Int, seconds: Double) async throws {
        _ = try await eventually("the last scrape") {
            let total = try await prometheus.query("sum(demo_http_requests_total{route=\"/items/KEY\",code=\"200\"})")
            return total.first?.value == Double(counted) ? true : nil
        }
        let range = "\(Int(seconds) + 60)s"
        for family in [
            "demo_http_requests_total", "demo_http_request_duration_seconds_count",
            "demo_http_request_duration_seconds_bucket", "demo_http_request_duration_seconds_sum",
            "muster_worker_cpu_seconds_total", "muster_worker_starts_total", "muster_worker_restarts_total",
            "muster_loop_runs_total", "muster_threadgroup_tasks_total", "muster_jobs_total",
        ] {
            let resets = try await prometheus.query("resets(\(family)[\(range)])")
            #expect(!resets.isEmpty, "\(family)")
            for sample in resets where sample.value != 0 {
                Issue.record("\(family)\(sample.labels) fell \(sample.value) times")
            }
        }
        // The sum does not fall either: no series goes missing meanwhile.
        for sum in ["sum(demo_http_requests_total)", "sum(muster_worker_restarts_total)"] {
            let steps = try await prometheus.query(
                "min_over_time((\(sum) - (\(sum.replacingOccurrences(of: ")", with: " offset 1s)"))))[\(range):1s])")
            #expect(try #require(steps.first).value >= 0, "\(sum)")
        }
        let up = try await prometheus.query("min_over_time(up[\(Int(seconds))s])")
        #expect(up.map(\.value) == [1])
    }

    // MARK: Rolls

    @Test("of reloads fails nothing at all, on connections that are kept and on new ones", arguments: [0, 1])
    func rolls(spares: Int) async throws {
        let seconds = spares == 0 ? Self.seconds : Self.secondsWithSpares
        let (demo, item) = try await demo(["--warm-spares", "\(spares)"])
        _ = try await whole(demo)
        let kept = try Wrk(item, connections: Self.connections)
        let fresh = try Wrk(item, connections: 4, headers: ["Connection: close"])
        _ = try await demo.metrics("load") { $0.sum("demo_http_requests_total", Self.route) > 1000 }

        let began = ContinuousClock.now
        var rolls = 0
        while began.duration(to: .now) < .seconds(seconds) {
            demo.signal(SIGHUP)
            rolls += 1
            _ = try await demo.metrics("the end of roll \(rolls)") {
                $0.sum("muster_reloads_total", ["method": "reload", "outcome": "completed"]) == rolls
            }
        }
        let took = began.duration(to: .now)
        let reports = [try await kept.report(), try await fresh.report()]
        let after = try await whole(demo)
        let restarts = after.restarts
        print(
            "storm of reloads, \(spares) spares, \(took): \(rolls) reloads, \(took / rolls) each; restarts "
                + "\(restarts)\n  kept connections: \(reports[0])\n  new connections: \(reports[1])")

        for report in reports {
            #expect(report.requests > 1000)
            #expect(report.failures == 0, "\(report)")
        }
        #expect(restarts == ["reload": 4 * rolls])
        #expect(after.sum("muster_reloads_total") == rolls)
        demo.signal(SIGTERM)
        #expect(try await demo.status() == 0)
    }
}
