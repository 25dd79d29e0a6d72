// SPDX-License-Identifier: Apache-2.0

/// Why a packet is no control message.
package enum ControlMessageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// It has no byte.
    case empty
    /// It is longer than a message may be.
    case tooLong(bytes: Int)
    /// Its first byte stands for no kind of message.
    case unknownKind(UInt8)
    /// It has more or fewer bytes than its kind of message.
    case wrongLength(kind: UInt8, bytes: Int)

    package var description: String {
        switch self {
        case .empty: "a control message is empty"
        case .tooLong(let bytes):
            "a control message has \(bytes) bytes; the longest has \(ControlMessage.largestSize)"
        case .unknownKind(let kind): "there is no kind \(kind) of control message"
        case .wrongLength(let kind, let bytes): "a control message of kind \(kind) cannot have \(bytes) bytes"
        }
    }
}
