// SPDX-License-Identifier: Apache-2.0

/// Why a thread group refused.
public enum ThreadGroupError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The group has as many threads as it may have.
    case full(group: String, capacity: Int)
    /// The group is the one that stands for having none.
    case none

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .full(let group, let capacity):
            """
            thread group '\(group)' is full: all \(capacity) threads are alive. Raise its capacity, or create it with \
            whenFull: .wait
            """
        case .none:
            "this service has no thread group: declare `let threadGroup = ThreadGroup(name: …)` in it"
        }
    }
}
