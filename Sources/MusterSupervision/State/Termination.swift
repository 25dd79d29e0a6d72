// SPDX-License-Identifier: Apache-2.0

/// How a process ended, as the kernel tells it.
public enum Termination: Hashable, Sendable {
    /// It exited with a code.
    case exited(code: Int32)
    /// A signal ended it.
    case signaled(Int32)
}
