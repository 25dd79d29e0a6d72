// SPDX-License-Identifier: Apache-2.0

package import Foundation

/// The release build of the command line `muster`, run by tests.
package enum MusterCommandLine {
    /// The release binary: named by the environment, or where `make muster` builds it.
    package static let binary: String? = {
        let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let path =
            ProcessInfo.processInfo.environment["MUSTER_CLI"]
            ?? here.appendingPathComponent(".build/release/muster").path
        return FileManager.default.isExecutableFile(atPath: path) ? path : nil
    }()

    package static var isBuilt: Bool { binary != nil }

    /// What a run has come to.
    package struct Run: Sendable {
        package let status: Int32
        package let output: String
        package let errors: String

        package init(status: Int32, output: String, errors: String) {
            self.status = status
            self.output = output
            self.errors = errors
        }
    }

    /// Starts it.
    package static func start(
        _ arguments: [String], environment: [String: String] = [:], input: FileHandle? = nil
    ) throws -> Program {
        guard let binary else {
            throw Program.Ended(description: "no release build of the command line: run make muster first")
        }
        let quiet = ["NO_COLOR": "", "COLUMNS": "", "MUSTER_URL": "", "MUSTER_PASSWORD": ""]
        return try Program(binary, arguments, environment: quiet.merging(environment) { $1 }, input: input)
    }

    /// Runs it to its end.
    package static func run(_ arguments: String..., environment: [String: String] = [:]) async throws -> Run {
        let program = try start(arguments, environment: environment)
        let status = try await program.status()
        return Run(status: status, output: program.output, errors: program.errors)
    }
}
