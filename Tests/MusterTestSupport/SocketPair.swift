// SPDX-License-Identifier: Apache-2.0

import Glibc
package import MusterPlatform

/// Two connected non-blocking sockets.
package struct SocketPair {
    package let near: OwnedDescriptor
    package let far: OwnedDescriptor

    package init() throws {
        var pair: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &pair) == 0 else { throw SystemError("socketpair") }
        near = OwnedDescriptor(pair[0])
        far = OwnedDescriptor(pair[1])
    }
}

/// Writes one byte.
package func poke(_ descriptor: OwnedDescriptor) {
    var byte: UInt8 = 1
    _ = write(descriptor.rawValue, &byte, 1)
}

/// Reads all there is.
@discardableResult
package func drain(_ descriptor: OwnedDescriptor) -> Int {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    var total = 0
    while true {
        let count = read(descriptor.rawValue, &buffer, buffer.count)
        guard count > 0 else { return total }
        total += count
    }
}

/// Writes until there is no room.
@discardableResult
package func fill(_ descriptor: OwnedDescriptor) -> Int {
    let buffer = [UInt8](repeating: 0, count: 65_536)
    var total = 0
    while true {
        let count = write(descriptor.rawValue, buffer, buffer.count)
        guard count > 0 else { return total }
        total += count
    }
}
