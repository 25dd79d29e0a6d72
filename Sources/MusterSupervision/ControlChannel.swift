// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
package import MusterPlatform

/// One end of the connection between a supervisor and a worker: a non-blocking `SOCK_SEQPACKET` socket.
package final class ControlChannel: Sendable {
    /// What a look into the channel found.
    package enum Reception: Hashable, Sendable {
        case message(ControlMessage)
        /// A console's request, and the connection to answer over.
        case request(String, OwnedDescriptor)
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
        get throws(SystemError) { try descriptor.inode }
    }

    /// Sends a message without waiting.
    ///
    /// - Returns: `false` when the other end is closed or does not read.
    @discardableResult
    package func send(_ message: ControlMessage, with connection: OwnedDescriptor? = nil) -> Bool {
        let packet = message.encoded
        while true {
            let count = cmuster_send_with_descriptor(
                descriptor.rawValue, packet, packet.count, connection?.rawValue ?? -1)
            if count >= 0 { return true }
            guard errno == EINTR else { return false }
        }
    }

    /// Takes the next packet without waiting.
    package func receive() -> Reception {
        var retries = 8
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: ControlMessage.largestSize) { buffer in
            while true {
                var number: Int32 = -1
                let count = cmuster_receive_with_descriptor(
                    descriptor.rawValue, buffer.baseAddress, buffer.count, &number)
                let connection = number >= 0 ? OwnedDescriptor(number) : nil
                if count > 0 { return Self.decode(buffer, count: count, connection) }
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

    private static func decode(
        _ buffer: UnsafeMutableBufferPointer<UInt8>, count: Int, _ connection: OwnedDescriptor?
    ) -> Reception {
        guard count <= buffer.count else { return .malformed(.tooLong(bytes: count)) }
        do {
            let message = try ControlMessage(decoding: UnsafeBufferPointer(rebasing: buffer[..<count]))
            if case .consoleRequest(let request) = message, let connection { return .request(request, connection) }
            return .message(message)
        } catch {
            return .malformed(error)
        }
    }

    private var isHungUp: Bool {
        var entry = pollfd(fd: descriptor.rawValue, events: 0, revents: 0)
        return poll(&entry, 1, 0) != 0 && Int32(entry.revents) & POLLHUP != 0
    }
}

/// What a supervisor and a worker tell each other. One packet holds one message.
///
/// A packet is the message's kind as one byte, followed by what the kind needs: `takeOver` the slot as 4 bytes, `stop` the
/// instant, if any, as 8, both little-endian; `startFailed` and `recycle` the reason, `reset` the settings, and `logLevels`
/// the rules, in UTF-8; `hasReset` a byte, 1 for success; `consoleRequest` its line, with a descriptor beside it; `lease`
/// what `TaskLeases` encodes, and `taskRun` a state, a blank and a name.
package enum ControlMessage: Hashable, Sendable {
    /// To a spare: become the worker of a slot.
    case takeOver(slot: Int)
    /// To a worker: take up these settings, in place; `nil` when they are none that were loaded.
    case reset(WorkerSettings?)
    /// To a worker: it is about to get SIGTERM, and will be killed at this instant; `nil` for never.
    case stop(until: MonotonicInstant?)
    /// To a worker: a console's request, which comes with the connection to answer over.
    case consoleRequest(String)
    /// To a worker or a spare: these log levels, in the form of `LogLevels`, in place of those before.
    case logLevels(String)
    /// To a worker: it has the lease of its group's periodic tasks, with the records of their runs.
    case lease(String)
    /// From a spare: started, and waiting to take over.
    case parked
    /// From a worker: it has periodic tasks that run once over all workers.
    case seekLease
    /// From the worker that has the lease: what has become of a run.
    case taskRun(TaskLeases.Record.State, task: String)
    /// From a worker: its service runs.
    case ready
    /// From a worker: its service could not be started.
    case startFailed(reason: String)
    /// From a worker: its service has taken up the settings, or could not.
    case hasReset(succeeded: Bool)
    /// From a worker, in its signal handler: it is about to write the backtraces of a crash.
    case crashing
    /// From a worker: its application wants another process in its place.
    case recycle(reason: String)
    /// From a worker: the supervisor had asked to be told when something could hang.
    case active

    /// The size of the largest packet in bytes.
    package static let largestSize = 16 << 10
    /// The longest reason of a failed start, or of a recycling.
    private static let longestReason = 1023

    private enum Kind: UInt8 {
        case takeOver = 1
        case reset, parked, ready, startFailed, active, hasReset, crashing, stop
        case recycle, logLevels, consoleRequest, lease, seekLease, taskRun
    }

    /// The packet of ``crashing``, for a signal handler.
    package static let crashingByte = Kind.crashing.rawValue

    /// The packet. A reason that is too long is cut off.
    package var encoded: [UInt8] {
        switch self {
        case .takeOver(let slot):
            return [Kind.takeOver.rawValue] + Self.bytes(of: UInt32(clamping: slot))
        case .stop(let deadline):
            return [Kind.stop.rawValue] + (deadline.map { Self.bytes(of: $0.nanoseconds) } ?? [])
        case .startFailed(let reason):
            return [Kind.startFailed.rawValue] + reason.utf8Prefix(Self.longestReason)
        case .recycle(let reason): return [Kind.recycle.rawValue] + reason.utf8Prefix(Self.longestReason)
        case .reset(let settings):
            return [Kind.reset.rawValue] + (settings.map { Array($0.encoded.utf8) } ?? [])
        case .logLevels(let rules): return [Kind.logLevels.rawValue] + rules.utf8Prefix(Self.largestSize - 1)
        case .consoleRequest(let line): return [Kind.consoleRequest.rawValue] + Array(line.utf8)
        case .lease(let records): return [Kind.lease.rawValue] + records.utf8Prefix(Self.largestSize - 1)
        case .seekLease: return [Kind.seekLease.rawValue]
        case .taskRun(let state, let task): return [Kind.taskRun.rawValue] + "\(state.rawValue) \(task)".utf8Prefix(512)
        case .hasReset(let succeeded): return [Kind.hasReset.rawValue, succeeded ? 1 : 0]
        case .parked: return [Kind.parked.rawValue]
        case .ready: return [Kind.ready.rawValue]
        case .active: return [Kind.active.rawValue]
        case .crashing: return [Kind.crashing.rawValue]
        }
    }

    private static func bytes(of number: some FixedWidthInteger) -> [UInt8] {
        (0..<number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
    }

    private static func number<Number: FixedWidthInteger>(_ bytes: some BidirectionalCollection<UInt8>) -> Number {
        bytes.reversed().reduce(0) { $0 << 8 | Number(truncatingIfNeeded: $1) }
    }

    /// Reads a packet.
    package init(decoding packet: some BidirectionalCollection<UInt8>) throws(ControlMessageError) {
        guard let first = packet.first else { throw .empty }
        guard packet.count <= Self.largestSize else { throw .tooLong(bytes: packet.count) }
        guard let kind = Kind(rawValue: first) else { throw .unknownKind(first) }
        let rest = packet.dropFirst()
        switch kind {
        case .startFailed:
            // Invalid UTF-8 is repaired: it is a text for people.
            self = .startFailed(reason: String(decoding: rest, as: UTF8.self))
            return
        case .recycle:
            self = .recycle(reason: String(decoding: rest, as: UTF8.self))
            return
        case .consoleRequest:
            self = .consoleRequest(String(decoding: rest, as: UTF8.self))
            return
        case .takeOver:
            guard rest.count == 4 else { throw .wrongLength(kind: first, bytes: packet.count) }
            let number: UInt32 = Self.number(rest)
            self = .takeOver(slot: Int(number))
            return
        case .stop:
            guard rest.isEmpty || rest.count == 8 else { throw .wrongLength(kind: first, bytes: packet.count) }
            self = .stop(until: rest.isEmpty ? nil : MonotonicInstant(nanoseconds: Self.number(rest)))
            return
        case .reset:
            guard !rest.isEmpty else {
                self = .reset(nil)
                return
            }
            guard let settings = WorkerSettings(decoding: String(decoding: rest, as: UTF8.self)) else {
                throw .unreadableSettings
            }
            self = .reset(settings)
            return
        case .logLevels:
            self = .logLevels(String(decoding: rest, as: UTF8.self))
            return
        case .lease:
            self = .lease(String(decoding: rest, as: UTF8.self))
            return
        case .taskRun:
            let parts = String(decoding: rest, as: UTF8.self).split(
                separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let state = TaskLeases.Record.State(rawValue: String(parts[0])) else {
                throw .wrongLength(kind: first, bytes: packet.count)
            }
            self = .taskRun(state, task: String(parts[1]))
            return
        case .hasReset:
            guard let success = rest.first, rest.count == 1, success <= 1 else {
                throw .wrongLength(kind: first, bytes: packet.count)
            }
            self = .hasReset(succeeded: success == 1)
            return
        case .seekLease: self = .seekLease
        case .parked: self = .parked
        case .ready: self = .ready
        case .active: self = .active
        case .crashing: self = .crashing
        }
        guard rest.isEmpty else { throw .wrongLength(kind: first, bytes: packet.count) }
    }
}

/// Why a packet is no control message.
package enum ControlMessageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// It has no byte.
    case empty
    /// It is longer than a message may be.
    case tooLong(bytes: Int)
    /// Its first byte stands for no kind of message.
    case unknownKind(UInt8)
    /// Its settings have another form.
    case unreadableSettings
    /// It has more or fewer bytes than its kind of message.
    case wrongLength(kind: UInt8, bytes: Int)

    package var description: String {
        switch self {
        case .empty: "empty control message"
        case .tooLong(let bytes):
            "control message of \(bytes) bytes; the limit is \(ControlMessage.largestSize)"
        case .unreadableSettings: "control message with unreadable settings"
        case .unknownKind(let kind): "unknown kind of control message: \(kind)"
        case .wrongLength(let kind, let bytes): "control message of kind \(kind) with \(bytes) bytes"
        }
    }
}
