// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// Why a signal cannot be handled.
public enum SignalError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The system refuses a handler for it.
    case notHandleable(UnixSignal, SystemError)

    /// What was wrong.
    public var description: String {
        switch self {
        case .notHandleable(let signal, let error):
            "\(signal) cannot be handled or ignored: \(error)"
        }
    }
}
