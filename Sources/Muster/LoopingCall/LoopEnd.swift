// SPDX-License-Identifier: Apache-2.0

/// How a looping call ended, unless with an error.
public enum LoopEnd: Sendable {
    /// It was stopped.
    case stopped
    /// Its function threw ``LoopingCallDone`` with this value.
    case done(any Sendable)

    /// The value of ``LoopingCallDone``; `true` for a loop that was stopped, as upstream has it.
    public var value: any Sendable {
        switch self {
        case .stopped: true
        case .done(let value): value
        }
    }
}
