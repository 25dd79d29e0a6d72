// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "A worker of the demo", .serialized, .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
    .timeLimit(.minutes(5)))
struct HangTests {
    private static let limit = Duration.seconds(1)
    /// A looking twentieth, and a machine that has other things to do.
    private static let margin = Duration.seconds(30)
    /// For how long a hung worker may write its backtraces: a second is enough, unless the machine is overloaded.
    private static let abortGrace = Duration.seconds(40)

    /// Where Swift's program that writes backtraces is, if it is.
    static let backtracer: String? = {
        guard let swift = find("swift") else { return nil }
        let folder = URL(fileURLWithPath: swift).resolvingSymlinksInPath().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("libexec/swift/linux")
        return ["swift-backtrace-static", "swift-backtrace"].map { folder.appendingPathComponent($0).path }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }()

    private static let options = [
        "--workers", "2", "--interval", "10ms", "--liveness-limit", "1s", "--abort-grace", "40s",
    ]

    /// Waits until the worker has been replaced, and returns how long that and its being found took.
    private func replacement(
        of worker: ProcessFiles?, in demo: Demo, since began: ContinuousClock.Instant, reason: String,
        within limit: Duration
    ) async throws {
        _ = try await eventually("the report") { demo.log.contains("worker hung") ? true : nil }
        let found = began.duration(to: .now)
        let samples = try await demo.metrics("the replacement") { samples in
            samples.restarts == [reason: 1] && samples.workers("ready") == 2
        }
        let replaced = began.duration(to: .now)
        print("hang: found after \(found), replaced after \(replaced)")
        #expect(found >= Self.limit - .milliseconds(50))
        #expect(found <= Self.limit + Self.margin)
        #expect(replaced <= limit)
        #expect(samples.sum("muster_worker_starts_total") == 3)
        if let worker { #expect(!demo.workers.contains(worker)) }
        #expect(try await demo.get("/livez").status == 200)
        #expect(try await demo.get("/items", from: demo.ready.http).status == 200)
    }

    @Test("that is stopped by a signal is replaced")
    func stopped() async throws {
        let demo = try await Demo(backend: nil, options: Self.options)
        let worker = try #require(demo.workers.first)
        let began = ContinuousClock.now
        kill(worker.pid, SIGSTOP)
        try await replacement(
            of: worker, in: demo, since: began, reason: "heartbeat", within: Self.limit + Self.margin * 2)
        #expect(demo.log.contains("suspended by a signal"))
    }

    @Test(
        "that hangs is replaced, and its backtraces name the culprit",
        .enabled(if: HangTests.backtracer != nil, "no swift-backtrace in the toolchain that the PATH leads to"),
        arguments: [("cooperative", "/block"), ("threading", "/hang")])
    func hangs(backend: String, path: String) async throws {
        let demo = try await Demo(backend: backend, options: Self.options)
        try await hang(demo, path)
    }

    @Test(
        "finds the program for backtraces beside the executable",
        .enabled(if: HangTests.backtracer != nil, "no swift-backtrace in the toolchain that the PATH leads to"))
    func copiedBacktracer() async throws {
        let folder = try TemporaryFolder()
        let binary = folder.path("muster-demo")
        let original = try #require(Demo.binary)
        if (try? FileManager.default.linkItem(atPath: original, toPath: binary)) == nil {
            try FileManager.default.copyItem(atPath: original, toPath: binary)
        }
        try FileManager.default.copyItem(
            atPath: #require(Self.backtracer), toPath: folder.path("swift-backtrace"))
        let demo = try await Demo(
            backend: "cooperative", options: Self.options, binary: binary, environment: ["PATH": "", "SWIFT_ROOT": ""])
        try await hang(demo, "/block")
    }

    private func hang(_ demo: Demo, _ path: String) async throws {
        let began = ContinuousClock.now
        let request = Task { try? await demo.get("\(path)?seconds=600", from: demo.ready.http) }
        try await replacement(
            of: nil, in: demo, since: began, reason: "heartbeat",
            within: Self.limit + Self.abortGrace + Self.margin * 2)
        #expect(await request.value == nil)
        #expect(demo.log.contains("terminating hung worker"))
        #expect(demo.log.contains("TroubleAPI.\(path.dropFirst())(_:)"), "\(demo.log)")
    }
}
