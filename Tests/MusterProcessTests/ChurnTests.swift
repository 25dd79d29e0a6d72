// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestKit
import MusterTestSupport
import Testing

@Suite("Very many restarts", .transcript, .timeLimit(.minutes(60)))
struct ChurnTests {
    /// A release build, which the environment names, does many; `MUSTER_TEST_TIMES` multiplies them.
    private static var restarts: Int {
        Scale.of(ProcessInfo.processInfo.environment["MUSTER_TEST_PROGRAM"] == nil ? 300 : 3000)
    }

    private func openDescriptors(_ pid: Int32) throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count
    }

    private func residentKibibytes(_ pid: Int32) throws -> Int {
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        let match = try #require(status.firstMatch(of: /VmRSS:\s+(\d+) kB/))
        return try #require(Int(match.1))
    }

    @Test("leak no descriptor, no memory and no series, and are all counted", arguments: [0, 1])
    func churn(spares: Int) async throws {
        let options = [
            "--workers=4", "--spares=\(spares)", "--muster-restart-backoff-base=0s",
            "--muster-restart-intensity-maximum=0", "--muster-startup-timeout=10m", "--quiet",
        ]
        try await TestProgram.run(options, backend: "cooperative") { program in
            try await program.ready()
            var index = 0
            var killed = 0
            func kill(_ count: Int) async throws {
                for _ in 0..<count {
                    let worker = try await program.next("started", from: &index)
                    Foundation.kill(worker.pid, SIGKILL)
                }
                killed += count
            }
            func settle() async throws -> [MetricSample] {
                try await program.metric("muster_worker_restarts_total", is: Double(killed))
                try await program.metric("muster_workers", ["state": "ready"], is: 4)
                try await program.metric("muster_workers", ["state": "spare"], is: Double(spares))
                return try await program.metrics()
            }
            // Memory and caches get as large as they are going to be.
            try await kill(min(100, Self.restarts / 3))
            let warm = try await settle()
            let (descriptors, memory) = (try openDescriptors(program.pid), try residentKibibytes(program.pid))
            try await kill(Self.restarts)
            let after = try await settle()
            #expect(try openDescriptors(program.pid) == descriptors)
            #expect(try residentKibibytes(program.pid) - memory < 2048)
            #expect(after.count == warm.count)
            #expect(after.sum("muster_worker_restarts_total", ["reason": "signal"]) == MetricValue(Double(killed)))
            #expect(after.sum("muster_worker_starts_total") == MetricValue(Double(killed + 4)))
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }
}
