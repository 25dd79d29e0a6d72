// SPDX-License-Identifier: Apache-2.0

/// Where the store's HTTP server takes its connections from.
enum ListenTarget: Sendable {
    /// A socket of its own on an address; port 0 takes any free one.
    case address(host: String, port: UInt16)
    /// A listening socket that was opened by someone else and may be shared with other processes. It stays open.
    case descriptor(Int32)
}
