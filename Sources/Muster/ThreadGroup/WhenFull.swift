// SPDX-License-Identifier: Apache-2.0

/// What a thread group does with a thread for which it has no room.
public enum WhenFull: String, Hashable, Sendable, CaseIterable {
    /// Lets the caller wait until another thread has ended (upstream's Eventlet backend).
    case wait
    /// Throws ``ThreadGroupError/full(group:capacity:)`` (upstream's threading backend).
    case reject
}
