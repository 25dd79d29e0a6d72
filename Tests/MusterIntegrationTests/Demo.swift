// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

/// A running release build of the demo, started by a test and ended with it.
final class Demo: @unchecked Sendable {
    // Sound as `@unchecked Sendable`: `process` is started in `init` and then only read and signalled; what the
    // reading threads collect is behind `ProgramOutput`'s lock.

    /// The release binary: named by the environment, or where `make demo` builds it.
    static let binary: String? = {
        let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let path =
            ProcessInfo.processInfo.environment["MUSTER_DEMO"]
            ?? here.appendingPathComponent(".build/release/muster-demo").path
        return FileManager.default.isExecutableFile(atPath: path) ? path : nil
    }()

    static var isBuilt: Bool { binary != nil }

    struct Ready: Decodable {
        let pid: Int32
        let http: String
        let endpoint: String
    }

    let ready: Ready
    private let program: Program
    private let folder: TemporaryFolder

    /// Starts the demo on free ports, in one process unless the options say otherwise, and waits until it says that
    /// it is ready.
    init(backend: String?, options: [String] = []) async throws {
        folder = try TemporaryFolder()
        let file = folder.path("ready.json")
        var environment: [String: String] = [:]
        if let backend { environment["MUSTER_BACKEND"] = backend }
        let processes = options.contains("--workers") ? [] : ["--workers", "0"]
        program = try Program(
            try #require(Demo.binary),
            processes + ["--http", "127.0.0.1:0", "--endpoint", "127.0.0.1:0", "--ready-file", file] + options,
            environment: environment)
        // The announcement is printed before the file is renamed into its place.
        try await program.waitForOutput(containing: "SIGTERM gracefully")
        let data = try await eventually("the ready file") { FileManager.default.contents(atPath: file) }
        ready = try JSONDecoder().decode(Ready.self, from: data)
    }

    var log: String { program.errors }
    var output: String { program.output }

    func signal(_ number: Int32) { kill(ready.pid, number) }

    /// Waits for the end and returns the exit status, or 128 plus the signal.
    func status() async throws -> Int32 { try await program.status() }

    func get(_ path: String, from base: String? = nil, headers: [String: String] = [:]) async throws -> HTTPAnswer {
        try await HTTPAnswer.get((base ?? ready.endpoint) + path, headers: headers)
    }

    deinit { program.end() }
}
