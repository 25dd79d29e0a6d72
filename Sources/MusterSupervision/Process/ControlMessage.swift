// SPDX-License-Identifier: Apache-2.0

/// What a supervisor and a worker tell each other. One packet holds one message.
///
/// A packet is the message's kind as one byte, followed by what the kind needs: `takeOver` the slot as 4 bytes,
/// little-endian; `startFailed` the reason in UTF-8.
package enum ControlMessage: Hashable, Sendable {
    /// To a spare: become the worker of a slot.
    case takeOver(slot: Int)
    /// To a worker: read the settings anew, in place.
    case reset
    /// To a worker: end gracefully.
    case stop
    /// From a spare: started, and waiting to take over.
    case parked
    /// From a worker: its service runs.
    case ready
    /// From a worker: its service could not be started.
    case startFailed(reason: String)
    /// From a worker: it has begun to end by itself.
    case stopping
    /// From a worker: the supervisor had asked to be told when something could hang.
    case active

    /// The size of the largest packet in bytes.
    package static let largestSize = 1024

    private enum Kind: UInt8 {
        case takeOver = 1
        case reset, stop, parked, ready, startFailed, stopping, active
    }

    /// The packet. A reason that is too long is cut off.
    package var encoded: [UInt8] {
        switch self {
        case .takeOver(let slot):
            let number = UInt32(clamping: slot)
            return [Kind.takeOver.rawValue] + (0..<4).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
        case .startFailed(let reason):
            return [Kind.startFailed.rawValue] + reason.utf8Prefix(Self.largestSize - 1)
        case .reset: return [Kind.reset.rawValue]
        case .stop: return [Kind.stop.rawValue]
        case .parked: return [Kind.parked.rawValue]
        case .ready: return [Kind.ready.rawValue]
        case .stopping: return [Kind.stopping.rawValue]
        case .active: return [Kind.active.rawValue]
        }
    }

    /// Reads a packet.
    ///
    /// - Parameter packet: The packet's bytes, which may say anything.
    package init(decoding packet: some Collection<UInt8>) throws(ControlMessageError) {
        guard let first = packet.first else { throw .empty }
        guard packet.count <= Self.largestSize else { throw .tooLong(bytes: packet.count) }
        guard let kind = Kind(rawValue: first) else { throw .unknownKind(first) }
        let rest = packet.dropFirst()
        switch kind {
        case .startFailed:
            // Invalid UTF-8 is repaired: it is a text for people.
            self = .startFailed(reason: String(decoding: rest, as: UTF8.self))
            return
        case .takeOver:
            guard rest.count == 4 else { throw .wrongLength(kind: first, bytes: packet.count) }
            let number = rest.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            self = .takeOver(slot: Int(number))
            return
        case .reset: self = .reset
        case .stop: self = .stop
        case .parked: self = .parked
        case .ready: self = .ready
        case .stopping: self = .stopping
        case .active: self = .active
        }
        guard rest.isEmpty else { throw .wrongLength(kind: first, bytes: packet.count) }
    }
}
