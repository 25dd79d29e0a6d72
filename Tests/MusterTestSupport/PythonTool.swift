// SPDX-License-Identifier: Apache-2.0

package import Foundation

/// What tests run with the Python of `.venv`, which `scripts/install-packages test` sets up.
package enum PythonTool {
    /// The folder of the repository.
    package static let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// The interpreter: named by the environment, that of `.venv`, or the system's.
    package static let interpreter: String = {
        let candidates: [String?] = [
            ProcessInfo.processInfo.environment["MUSTER_PYTHON"],
            repository.appendingPathComponent(".venv/bin/python").path, find("python3"),
        ]
        return candidates.compactMap { $0 }.first { FileManager.default.isExecutableFile(atPath: $0) } ?? "python3"
    }()

    /// Whether a module is there.
    package static func has(_ module: String) -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: interpreter)
        process.arguments = ["-c", "import \(module)"]
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }

    /// Runs it to its end.
    ///
    /// - Parameter arguments: What Python is given.
    /// - Returns: The exit status and all that it has written.
    package static func run(_ arguments: [String]) async throws -> (status: Int32, text: String) {
        let program = try Program(interpreter, arguments)
        let status = try await program.status()
        return (status, program.output + program.errors)
    }
}
