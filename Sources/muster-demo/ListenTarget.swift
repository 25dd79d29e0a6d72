// SPDX-License-Identifier: Apache-2.0

import Muster

/// Where the store's HTTP server takes its connections from.
enum ListenTarget: Sendable {
    /// A socket of its own at an address.
    case address(ListenAddress)
    /// A listening socket that was opened by someone else and may be shared with other processes. It stays open.
    case descriptor(Int32)
}
