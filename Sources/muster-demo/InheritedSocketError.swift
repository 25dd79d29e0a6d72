// SPDX-License-Identifier: Apache-2.0

/// Connections cannot be taken from the socket that the supervisor has handed over.
struct InheritedSocketError: Error, CustomStringConvertible {
    let descriptor: Int32
    let reason: String

    var description: String {
        "cannot accept connections on the inherited descriptor \(descriptor) (\(reason)): it must be an open, "
            + "listening stream socket"
    }
}
