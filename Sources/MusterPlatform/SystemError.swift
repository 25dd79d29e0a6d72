// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A system call that failed.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was tried, for example `epoll_create1`.
    public let operation: String
    /// The value of `errno`.
    public let code: Int32

    /// Creates the error.
    ///
    /// - Parameters:
    ///   - operation: What was tried.
    ///   - code: The error number.
    public init(_ operation: String, code: Int32) {
        self.operation = operation
        self.code = code
    }

    /// Creates the error from the calling thread's `errno`.
    ///
    /// - Parameter operation: What was tried.
    public init(_ operation: String) {
        self.init(operation, code: errno)
    }

    /// What was tried and the system's text for the reason.
    public var description: String {
        "\(operation): \(String(cString: strerror(code))) (errno \(code))"
    }
}
