// SPDX-License-Identifier: Apache-2.0

/// Something was not over at its deadline.
public struct TimeLimitExceeded: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was waited for.
    public let operation: String

    /// Creates the error.
    ///
    /// - Parameter operation: What was waited for.
    public init(_ operation: String) {
        self.operation = operation
    }

    /// What was waited for.
    public var description: String { "\(operation) was not over at the deadline" }
}
