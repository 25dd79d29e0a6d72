// SPDX-License-Identifier: Apache-2.0

/// Why a file could not be read.
public struct ReadFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// The system's word, `No such file or directory`.
    public let reason: String

    /// Creates a failure.
    ///
    /// - Parameter reason: The system's word.
    public init(_ reason: String) {
        self.reason = reason
    }

    /// The failure in words.
    public var description: String { "cannot be read: \(reason)" }
}
