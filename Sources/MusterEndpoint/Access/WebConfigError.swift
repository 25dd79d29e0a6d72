// SPDX-License-Identifier: Apache-2.0

/// Why a web config file cannot be used.
public struct WebConfigError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file's path, as it was given.
    public var file: String
    /// The line, counted from 1; `nil` when it is about the file as a whole.
    public var line: Int?
    /// What is wrong and what to do. It never contains a key, a password or a hash.
    public var reason: String

    /// Creates an error.
    ///
    /// - Parameters:
    ///   - file: The file's path.
    ///   - line: The line, counted from 1.
    ///   - reason: What is wrong and what to do.
    public init(file: String, line: Int?, reason: String) {
        self.file = file
        self.line = line
        self.reason = reason
    }

    /// File, line and reason, as compilers write them.
    public var description: String {
        line.map { "\(file):\($0): \(reason)" } ?? "\(file): \(reason)"
    }
}
