// SPDX-License-Identifier: Apache-2.0

import Glibc

/// How a launcher's life ended, as the process' parent is to see it.
public struct ExitStatus: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The exit code, 0 to 255.
    public let rawValue: Int32

    /// Creates a status.
    ///
    /// - Parameter rawValue: The exit code, 0 to 255.
    public init(rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// Runs a program, and tells an error that it throws the way programs do: with its text on standard error, and
    /// with status 1. Swift itself would trap, with a backtrace, when an error leaves `main`.
    ///
    /// - Parameter program: What to run, for example a launcher's `wait()`.
    public init(_ program: () throws -> ExitStatus) {
        do {
            self = try program()
        } catch {
            let text = Array("error: \(error)\n".utf8)
            // There is nobody left to tell when this fails.
            _ = write(STDERR_FILENO, text, text.count)
            self = .failure
        }
    }

    /// Everything has ended as it was asked to.
    public static let success = ExitStatus(rawValue: 0)
    /// A service failed to start or to start again, the endpoint could not listen, or the end had to be forced.
    public static let failure = ExitStatus(rawValue: 1)

    /// The exit code.
    public var description: String { "\(rawValue)" }

    /// Ends the process with this status.
    public func exit() -> Never {
        Glibc.exit(rawValue)
    }
}
