// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport

/// One shell that a page's commands are given to, as a reader would type them.
final class PageShell: Sendable {
    private let program: Program
    private let commands: Pipe
    private let count = Counter()

    /// Starts the shell.
    ///
    /// - Parameters:
    ///   - folder: Where it starts.
    ///   - environment: What is added to the test's own environment.
    init(in folder: String, environment: [String: String]) throws {
        commands = Pipe()
        program = try Program(
            "/usr/bin/env", ["bash", "--noprofile", "--norc"], environment: environment,
            input: commands.fileHandleForReading)
        try send("trap 'failed=$?' ERR; cd '\(folder)'")
    }

    /// Hands something in that prints nothing.
    func send(_ text: String) throws {
        try commands.fileHandleForWriting.write(contentsOf: Data("\(text)\n".utf8))
    }

    /// Writes a file where the shell is.
    func write(_ text: String, to path: String) throws {
        try send("cat > '\(path)' <<'END OF THE FILE'\n\(text)\nEND OF THE FILE")
    }

    /// Runs commands, and returns what they have printed and the status of the last one that failed, or 0.
    func run(_ text: String, within limit: TimeInterval = 60) async throws -> (output: String, status: Int32) {
        let mark = "=== \(count.add()) is over"
        let start = program.output.utf8.count
        try send("failed=0; { \(text)\n} 2>&1 </dev/null; printf '\\n%s: %d\\n' '\(mark)' $failed")
        return try await program.wait(for: text, within: limit) { transcript in
            let output = String(decoding: transcript.output.utf8.dropFirst(start), as: UTF8.self)
            guard let end = output.firstRange(of: "\n\(mark): "), output.hasSuffix("\n"),
                let status = Int32(output[end.upperBound...].dropLast())
            else { return nil }
            return (String(output[..<end.lowerBound]), status)
        }
    }

    /// Ends the shell, and what was started in it and still runs.
    func end() async {
        // Those that it has started are the shell's children, so that it may end them by their ids.
        _ = try? await run("for job in $(jobs -p); do kill -KILL \"$job\"; done; wait")
        program.end()
    }
}
