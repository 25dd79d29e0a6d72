// SPDX-License-Identifier: Apache-2.0

/// What a program has written, and how it has ended.
package struct Transcript: Sendable, CustomStringConvertible {
    /// The whole lines of its standard output.
    package private(set) var lines: [String] = []
    /// What it has written since the last line's end.
    package private(set) var rest = ""
    package var errors = ""
    /// The exit status, or 128 plus the signal.
    package var exitStatus: Int32?

    package init() {}

    package var output: String { lines.map { "\($0)\n" }.joined() + rest }

    mutating func addOutput(_ text: String) {
        rest += text
        var parts = rest.split(separator: "\n", omittingEmptySubsequences: false)
        rest = String(parts.removeLast())
        lines += parts.map(String.init)
    }

    package var description: String {
        """
        status: \(exitStatus.map(String.init) ?? "running")
        output:
        \(output)
        errors:
        \(errors)
        """
    }
}
