// SPDX-License-Identifier: Apache-2.0

/// The store cannot be served where it was asked to be.
struct ListenError: Error, CustomStringConvertible {
    let host: String
    let port: Int
    let reason: String

    var description: String {
        "cannot listen on \(host):\(port) (\(reason)): choose another address with --http, port 0 for any"
    }
}
