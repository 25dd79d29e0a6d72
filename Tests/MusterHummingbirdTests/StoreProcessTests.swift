// SPDX-License-Identifier: Apache-2.0

#if Hummingbird
import Foundation
import MusterLock
import MusterPlatform
import MusterTestSupport
import Testing

/// The store, run by a test: a supervisor and four workers.
private final class StoreProgram: Sendable {
    let program: Program
    let port: Int
    let endpoint: String
    private let folder: TemporaryFolder

    init() async throws {
        folder = try TemporaryFolder()
        let executable = URL(fileURLWithPath: ProcessInfo.processInfo.arguments[0]).deletingLastPathComponent()
            .appendingPathComponent("muster-hummingbird-program").path
        program = try Program(
            executable, ["--muster-endpoint-address=127.0.0.1:0"],
            environment: ["STORE_PORT": "0", "STORE_FOLDER": folder.url.path])
        (port, endpoint) = try await program.wait(for: "the addresses") { transcript in
            guard let match = transcript.output.firstMatch(of: /store at http:\S+:(\d+), metrics at (\S+)\n/),
                let port = Int(match.1)
            else { return nil }
            return (port, String(match.2))
        }
    }

    func signal(_ number: Int32) { kill(program.pid, number) }

    func metrics() async throws -> Samples { Samples(try await HTTPAnswer.get("\(endpoint)/metrics").body) }

    func waitForRestarts(_ reason: String, _ count: Int) async throws {
        _ = try await eventually("\(count) restarts by \(reason)") {
            try await metrics().sum("muster_worker_restarts_total", ["reason": reason]) >= count ? () : nil
        }
    }
}

/// Clients that ask for the process that answers as fast as they are answered, each on a thread.
private final class Load: Sendable {
    struct Report: Sendable {
        var answers = 0
        var processes: Set<Int32> = []
        /// The process that had answered before on the connection, if any, and the error.
        var failures: [(process: Int32?, error: String)] = []
    }

    private let state = Locked((isOver: false, report: Report()))
    private let threads: [Task<Void, any Error>]

    /// Begins.
    init(port: Int, kept: Int, new: Int) {
        let state = state
        threads = (0..<kept + new).map { number in
            Task { try await onThread { Self.run(port: port, keeps: number < kept, state) } }
        }
    }

    private static func run(port: Int, keeps: Bool, _ state: Locked<(isOver: Bool, report: Report)>) {
        var client: Client?
        var process: Int32?
        while !state.withLock({ $0.isOver }) {
            do {
                let current = try client ?? Client(port: port)
                let answer = try current.getBlocking("/process", headers: keeps ? "" : "Connection: close\r\n")
                guard answer.status == 200, let answering = Int32(answer.body) else {
                    throw Program.Ended(description: "status \(answer.status)")
                }
                let isKept = answer.headers["connection"] != "close"
                (client, process) = isKept ? (current, answering) : (nil, nil)
                state.withLock { state in
                    state.report.answers += 1
                    state.report.processes.insert(answering)
                }
            } catch {
                let failed = process
                state.withLock { $0.report.failures.append((failed, "\(error)")) }
                (client, process) = (nil, nil)
            }
        }
    }

    var processes: Set<Int32> { state.withLock { $0.report.processes } }

    func report() async throws -> Report {
        state.withLock { $0.isOver = true }
        for thread in threads { try await thread.value }
        return state.withLock { $0.report }
    }
}

@Suite("A store of Hummingbird in worker processes", .timeLimit(.minutes(10)))
struct StoreProcessTests {
    @Test("stores in one worker what another one reads, and exports Hummingbird's metrics with Muster's")
    func store() async throws {
        let store = try await StoreProgram()
        let base = "http://127.0.0.1:\(store.port)/items/"
        #expect(try await HTTPAnswer.get(base + "a", method: "PUT", body: "hello").status == 204)
        for _ in 0..<8 { #expect(try await HTTPAnswer.get(base + "a").body == "hello") }
        #expect(try await HTTPAnswer.get(base + "a", method: "DELETE").status == 204)
        #expect(try await HTTPAnswer.get(base + "a").status == 404)
        let metrics = try await store.metrics()
        #expect(metrics.sum("hb_requests_total", ["http_request_method": "GET", "worker_group": "store"]) >= 8)
        #expect(metrics.sum("http_server_request_duration_seconds_count", ["http_request_method": "GET"]) >= 8)
        store.signal(SIGTERM)
        #expect(try await store.program.status() == 0)
    }

    @Test("loses no request in rolling reloads, on kept and on new connections")
    func reload() async throws {
        let store = try await StoreProgram()
        let load = Load(port: store.port, kept: 8, new: 2)
        let storm = try await Storm.run(atLeast: 2) { round in
            store.signal(SIGHUP)
            try await store.waitForRestarts("reload", 4 * round)
        }
        let report = try await load.report()
        print(
            "storm of reloads, Hummingbird, \(storm.took): \(storm.count) reloads, \(report.answers) requests, "
                + "\(report.failures.count) failed")
        #expect(report.failures.isEmpty, "\(report.failures)")
        #expect(report.answers > 100)
        #expect(report.processes.count >= 8)
        let idle = try Client(port: store.port)
        #expect(try await idle.get("/process").status == 200)
        store.signal(SIGTERM)
        #expect(try await idle.end() == "")
        #expect(try await store.program.status() == 0)
    }

    @Test("loses only what a killed worker had begun")
    func killed() async throws {
        let store = try await StoreProgram()
        let load = Load(port: store.port, kept: 8, new: 2)
        var victims: Set<Int32> = []
        let storm = try await Storm.run(atLeast: 1) { round in
            let victim = try await eventually("an answer of a worker that lives") {
                load.processes.first { !victims.contains($0) && kill($0, 0) == 0 }
            }
            kill(victim, SIGKILL)
            victims.insert(victim)
            // Ten a second, if the replacement is there by then.
            let next = ContinuousClock.now.advanced(by: .milliseconds(100))
            try await store.waitForRestarts("signal", round)
            if Storm.seconds != nil { try await Task.sleep(until: next) }
        }
        let report = try await load.report()
        print(
            "storm of kills, Hummingbird, \(storm.took): \(storm.count) kills, \(report.answers) requests, "
                + "\(report.failures.count) failed")
        // One for each client at most, on a connection to a killed worker.
        #expect(report.failures.count <= 10 * victims.count, "\(report.failures)")
        #expect(
            report.failures.allSatisfy { failure in failure.process.map { victims.contains($0) } ?? true },
            "\(report.failures)")
        store.signal(SIGTERM)
        #expect(try await store.program.status() == 0)
    }
}
#endif
