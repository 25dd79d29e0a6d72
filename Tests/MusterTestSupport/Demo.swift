// SPDX-License-Identifier: Apache-2.0

package import Foundation

/// A running release build of the demo, started by a test and ended with it.
package final class Demo: @unchecked Sendable {
    // Sound as `@unchecked Sendable`: `process` is started in `init` and then only read and signalled; what the
    // reading threads collect is behind `ProgramOutput`'s lock.

    /// The release binary: named by the environment, or where `make demo` builds it.
    package static let binary: String? = {
        let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let path =
            ProcessInfo.processInfo.environment["MUSTER_DEMO"]
            ?? here.appendingPathComponent(".build/release/muster-demo").path
        return FileManager.default.isExecutableFile(atPath: path) ? path : nil
    }()

    package static var isBuilt: Bool { binary != nil }

    package struct Ready: Decodable {
        package let pid: Int32
        package let http: String
        package let endpoint: String
    }

    package let ready: Ready
    private let program: Program
    private let folder: TemporaryFolder

    /// Starts the demo on free ports, in one process unless the options say otherwise, and waits until it says that
    /// it is ready.
    ///
    /// - Parameters:
    ///   - backend: The backend; the default one when `nil`.
    ///   - options: Options of the command line.
    ///   - binary: The program; the release build when `nil`.
    ///   - environment: Variables to be set.
    ///   - preparation: What a shell does before it becomes the demo.
    ///   - input: The standard input.
    package init(
        backend: String?, options: [String] = [], binary: String? = nil, environment: [String: String] = [:],
        preparation: String? = nil, input: FileHandle = .nullDevice
    ) async throws {
        folder = try TemporaryFolder()
        let file = folder.path("ready.json")
        var environment = environment
        if let backend { environment["MUSTER_BACKEND"] = backend }
        var arguments = options.contains("--workers") ? [] : ["--workers", "0"]
        arguments += options.contains("--http") ? [] : ["--http", "127.0.0.1:0"]
        arguments += ["--endpoint", "127.0.0.1:0", "--ready-file", file] + options
        guard let demo = binary ?? Demo.binary else {
            throw Program.Ended(description: "no release build of the demo: run make demo first")
        }
        if let preparation {
            program = try Program(
                "/bin/sh", ["-ec", "\(preparation)\nexec \"$0\" \"$@\"", demo] + arguments, environment: environment,
                input: input)
        } else {
            program = try Program(demo, arguments, environment: environment, input: input)
        }
        // The announcement is printed before the file is renamed into its place.
        try await program.waitForOutput(containing: "SIGTERM gracefully")
        let data = try await eventually("the ready file") { FileManager.default.contents(atPath: file) }
        ready = try JSONDecoder().decode(Ready.self, from: data)
    }

    package var log: String { program.errors }
    package var output: String { program.output }

    package func signal(_ number: Int32) { kill(ready.pid, number) }

    /// Waits for the end and returns the exit status, or 128 plus the signal.
    package func status() async throws -> Int32 { try await program.status() }

    /// The workers that fill a slot, in the slots' order.
    package var workers: [ProcessFiles] {
        // A spare has a word in the place of a number, a process that has just begun the program's name.
        ProcessFiles(pid: ready.pid).children.map { ($0, $0.name) }
            .filter { $0.1.contains(/^store\/\d+$/) }.sorted { $0.1 < $1.1 }.map(\.0)
    }

    package func metrics() async throws -> Samples { Samples(try await get("/metrics").body) }

    /// Asks for the metrics until they fit.
    package func metrics(
        _ what: String, within limit: Duration = .seconds(60), _ fits: (Samples) -> Bool
    ) async throws -> Samples {
        try await eventually(what, within: limit) {
            let samples = try await metrics()
            return fits(samples) ? samples : nil
        }
    }

    /// How often workers were started again, by reason; without the reasons that there was nothing for.
    package func restarts() async throws -> [String: Int] {
        try await metrics().restarts
    }

    package func get(_ path: String, from base: String? = nil, headers: [String: String] = [:]) async throws
        -> HTTPAnswer
    {
        try await HTTPAnswer.get((base ?? ready.endpoint) + path, headers: headers)
    }

    deinit { program.end() }
}

extension Samples {
    /// How often workers were started again, by reason; without the reasons that there was nothing for.
    package var restarts: [String: Int] {
        var restarts: [String: Int] = [:]
        for sample in matching("muster_worker_restarts_total") where sample.value != 0 {
            restarts[sample.labels["reason"] ?? "", default: 0] += Int(sample.value)
        }
        return restarts
    }

    /// How many workers are in a state.
    package func workers(_ state: String) -> Int { sum("muster_workers", ["state": state]) }
}
