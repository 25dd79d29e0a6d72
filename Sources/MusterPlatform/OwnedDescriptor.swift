// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A file descriptor that is closed when its owner goes away.
public final class OwnedDescriptor: Sendable {
    /// The descriptor's number.
    public let rawValue: Int32

    /// Takes ownership of an open descriptor.
    ///
    /// - Parameter rawValue: The descriptor's number.
    public init(_ rawValue: Int32) {
        self.rawValue = rawValue
    }

    deinit {
        close(rawValue)
    }
}
