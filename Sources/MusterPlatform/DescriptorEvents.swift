// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc

/// What a file descriptor can be ready for.
public struct DescriptorEvents: OptionSet, Hashable, Sendable {
    /// epoll's bit mask.
    public let rawValue: UInt32

    /// Creates a set from epoll's bit mask.
    ///
    /// - Parameter rawValue: `EPOLLIN`, `EPOLLOUT` and so on.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// There is something to read, or the other side has closed.
    public static let readable = DescriptorEvents(rawValue: EPOLLIN.rawValue | EPOLLRDHUP.rawValue)
    /// There is room to write.
    public static let writable = DescriptorEvents(rawValue: EPOLLOUT.rawValue)

    /// Errors and hang-ups, which are reported without being asked for and wake whoever waits.
    static let trouble = DescriptorEvents(rawValue: EPOLLERR.rawValue | EPOLLHUP.rawValue)
}
