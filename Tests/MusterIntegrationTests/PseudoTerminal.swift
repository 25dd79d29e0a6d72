// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport

/// The command line on a pseudo-terminal, which script(1) makes.
final class PseudoTerminal: Sendable {
    private let program: Program

    /// Starts it.
    ///
    /// - Parameters:
    ///   - arguments: Its arguments, as a shell reads them.
    ///   - columns: The terminal's width.
    ///   - rows: The terminal's height.
    ///   - environment: Variables to be set.
    init(_ arguments: String, columns: Int, rows: Int, environment: [String: String] = [:]) throws {
        guard let script = find("script"), let binary = MusterCommandLine.binary else {
            throw Program.Ended(description: "no script(1), or no release build of the command line")
        }
        let command = "stty cols \(columns) rows \(rows); echo pid=$$. tty=$(tty).; exec '\(binary)' \(arguments)"
        program = try Program(
            script, ["-qefc", command, "/dev/null"],
            environment: ["TERM": "xterm", "NO_COLOR": "", "SHELL": "/bin/sh"].merging(environment) { $1 },
            keepsInput: true)
    }

    /// What has been written to the terminal.
    var output: String { program.output }

    func wait(for what: String, _ isThere: @escaping @Sendable (String) -> Bool) async throws {
        try await program.wait(for: what) { isThere($0.output) ? () : nil }
    }

    /// Presses keys.
    func press(_ keys: String) { program.write(keys) }

    /// Changes its width.
    func resize(columns: Int) async throws {
        let path = try await program.wait(for: "its name") { transcript in
            transcript.output.firstMatch(of: /tty=(\/\S+)\./).map { String($0.1) }
        }
        guard try await Program("/bin/sh", ["-c", "stty -F \(path) cols \(columns)"]).status() == 0 else {
            throw Program.Ended(description: "stty failed for \(path)")
        }
    }

    /// Ends it as Ctrl-C does.
    func interrupt() async throws {
        let pid = try await program.wait(for: "its number") { transcript in
            transcript.output.firstMatch(of: /pid=(\d+)\./).flatMap { Int32($0.1) }
        }
        kill(pid, SIGINT)
    }

    /// Its exit status.
    func status() async throws -> Int32 { try await program.status() }
}
