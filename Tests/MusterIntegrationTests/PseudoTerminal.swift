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
    init(_ arguments: String, columns: Int, rows: Int) throws {
        guard let script = find("script"), let binary = MusterCommandLine.binary else {
            throw Program.Ended(description: "no script(1), or no release build of the command line")
        }
        let command = "stty cols \(columns) rows \(rows); echo pid=$$.; exec '\(binary)' \(arguments)"
        program = try Program(
            script, ["-qefc", command, "/dev/null"],
            environment: ["TERM": "xterm", "NO_COLOR": "", "SHELL": "/bin/sh"], keepsInput: true)
    }

    /// What has been written to the terminal.
    var output: String { program.output }

    func wait(for what: String, _ isThere: @escaping @Sendable (String) -> Bool) async throws {
        try await program.wait(for: what) { isThere($0.output) ? () : nil }
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
