// SPDX-License-Identifier: Apache-2.0

import Glibc
package import MusterPlatform

/// One end of the connection between a supervisor and a worker: a non-blocking `SOCK_SEQPACKET` socket.
package final class ControlChannel: Sendable {
    /// What a look into the channel found.
    package enum Reception: Hashable, Sendable {
        case message(ControlMessage)
        /// A packet that is no message; it has been taken out.
        case malformed(ControlMessageError)
        /// There is no packet at present.
        case nothing
        /// The other end is closed and all packets have been read.
        case closed
    }

    /// Readable when there is a packet or the other end is closed; close-on-exec.
    package let descriptor: OwnedDescriptor

    package init(descriptor: OwnedDescriptor) {
        self.descriptor = descriptor
    }

    /// Creates both ends.
    package static func pair() throws(SystemError) -> (supervisor: ControlChannel, worker: ControlChannel) {
        var pair: [Int32] = [-1, -1]
        let kind =
            Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &pair) == 0 else { throw SystemError("socketpair") }
        return (
            ControlChannel(descriptor: OwnedDescriptor(pair[0])), ControlChannel(descriptor: OwnedDescriptor(pair[1]))
        )
    }

    /// The number by which the kernel knows the socket; no other has it while this one is open.
    package var inode: UInt64 {
        get throws(SystemError) {
            var status = stat()
            guard fstat(descriptor.rawValue, &status) == 0 else { throw SystemError("fstat") }
            return UInt64(status.st_ino)
        }
    }

    /// Sends a message without waiting.
    ///
    /// - Returns: `false` when the other end is closed or does not read.
    @discardableResult
    package func send(_ message: ControlMessage) -> Bool {
        let packet = message.encoded
        while true {
            let count = Glibc.send(descriptor.rawValue, packet, packet.count, Int32(MSG_NOSIGNAL))
            if count >= 0 { return true }
            guard errno == EINTR else { return false }
        }
    }

    /// Takes the next packet without waiting.
    package func receive() -> Reception {
        var retries = 8
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: ControlMessage.largestSize) { buffer in
            while true {
                let count = recv(descriptor.rawValue, buffer.baseAddress, buffer.count, Int32(MSG_TRUNC))
                if count > 0 { return Self.decode(buffer, count: count) }
                // An empty packet looks like the end; the end can be told by nobody being there.
                if count == 0 { return isHungUp ? .closed : .malformed(.empty) }
                switch errno {
                case EAGAIN: return .nothing
                // A signal, or the other end was closed with packets unread: what it had sent is still to be read.
                case EINTR where retries > 0, ECONNRESET where retries > 0: retries -= 1
                default: return .closed
                }
            }
        }
    }

    /// Waits for the next packet, on the calling thread, without end.
    package func receiveBlocking() -> Reception {
        while true {
            let reception = receive()
            guard case .nothing = reception else { return reception }
            var entry = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
            _ = poll(&entry, 1, -1)
        }
    }

    private static func decode(_ buffer: UnsafeMutableBufferPointer<UInt8>, count: Int) -> Reception {
        guard count <= buffer.count else { return .malformed(.tooLong(bytes: count)) }
        do {
            return .message(try ControlMessage(decoding: UnsafeBufferPointer(rebasing: buffer[..<count])))
        } catch {
            return .malformed(error)
        }
    }

    private var isHungUp: Bool {
        var entry = pollfd(fd: descriptor.rawValue, events: 0, revents: 0)
        return poll(&entry, 1, 0) != 0 && Int32(entry.revents) & POLLHUP != 0
    }
}
