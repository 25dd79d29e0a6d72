// SPDX-License-Identifier: Apache-2.0

/// The store cannot be served where it was asked to be.
struct ListenError: Error, CustomStringConvertible {
    let target: ListenTarget
    let reason: String

    var description: String {
        switch target {
        case .address(let host, let port):
            "cannot listen on \(host):\(port) (\(reason)): choose another address with --http, port 0 for any"
        case .descriptor(let descriptor):
            "cannot accept connections on the inherited descriptor \(descriptor) (\(reason)): it must be an open, "
                + "listening stream socket"
        }
    }
}
