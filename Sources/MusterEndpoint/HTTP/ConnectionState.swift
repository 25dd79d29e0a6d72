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

    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    /// Ends the connection: the library sees a hang-up and closes it.
    ///
    /// The descriptor is the library's, and open as long as this object is in a list.
    func hangUp() {
        shutdown(descriptor, Int32(SHUT_RDWR))
    }

    /// Leaves the list it is in.
    func leave() {
        list?.remove(self)
    }
}
