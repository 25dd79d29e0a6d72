// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What the endpoint knows of one connection: whether it is silent or being answered, and since when.
///
/// Belongs to the endpoint's thread.
final class ConnectionState {
    let descriptor: Int32
    /// When the present phase began, in monotonic nanoseconds.
    var since: Int64 = 0
    var list: ConnectionList?
    var next: ConnectionState?
    unowned(unsafe) var previous: ConnectionState?
    /// What its TLS works with; `nil` for a connection without.
    var material: TLSMaterial?
    /// What the handshake has found out about the client.
    var client = ClientCertificate.missing
    /// Whether the handshake lets everybody in, so that each request has to be looked at.
    var isLenient = false

    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    /// Ends the connection: the library sees a hang-up and closes it.
    ///
    /// The descriptor is the library's, and open as long as this object is in a list.
    func hangUp() {
        shutdown(descriptor, Int32(SHUT_RDWR))
    }

    /// Wakes the library if the client has said that it will send no more.
    ///
    /// The library watches for changes, and takes a read that fills less than its buffer for the last one, so that it
    /// does not see an end that has come before that read. What it still has to answer is answered.
    func noticeEnd() {
        var byte: UInt8 = 0
        if recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) == 0 {
            shutdown(descriptor, Int32(SHUT_RD))
        }
    }

    /// Leaves the list it is in.
    func leave() {
        list?.remove(self)
    }
}
