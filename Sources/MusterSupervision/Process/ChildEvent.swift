// SPDX-License-Identifier: Apache-2.0

/// A piece of news about a child process.
package enum ChildEvent: Hashable, Sendable {
    /// It has ended. The last event of a child.
    case exited(ChildExit)
    /// A signal has stopped it: it does nothing until it is continued.
    case stopped(signal: Int32)
    /// It goes on after a stop.
    case continued
}
