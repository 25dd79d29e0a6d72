// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// Why a memory file cannot be used as a metric arena.
public enum ArenaError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A system call failed.
    case system(SystemError)
    /// The file may still be resized, so that whoever shares it could make a reader fault.
    case notSealed
    /// The file is smaller than the smallest arena.
    case tooSmall(size: Int, minimum: Int)
    /// Nobody has written an arena into the file yet.
    case notFormatted
    /// The file begins with something else than an arena.
    case wrongMagic(found: UInt64)
    /// The arena was laid out by another version of the format.
    case unsupportedVersion(found: UInt32, supported: UInt32)
    /// The header contradicts itself or the file's size.
    case invalidHeader(String)
    /// A record in the descriptor area is malformed.
    case invalidRecord(offset: Int, reason: String)

    /// What was found, and what to do about it.
    public var description: String {
        switch self {
        case .system(let error):
            "metric arena: \(error)"
        case .notSealed:
            "metric arena: the descriptor is not a memory file sealed against shrinking and growing; "
                + "create it with ArenaWriter.create"
        case .tooSmall(let size, let minimum):
            "metric arena: \(size) bytes are too few; the smallest arena has \(minimum)"
        case .notFormatted:
            "metric arena: the memory file is still empty; attach an ArenaWriter to it first"
        case .wrongMagic(let found):
            "metric arena: the memory file begins with 0x\(String(found, radix: 16)), which is not an arena's magic "
                + "number; the descriptor belongs to something else or the header was overwritten"
        case .unsupportedVersion(let found, let supported):
            "metric arena: layout version \(found) found, version \(supported) supported; "
                + "reader and writer must be of compatible versions"
        case .invalidHeader(let reason):
            "metric arena: invalid header: \(reason); the header was overwritten, replace the arena"
        case .invalidRecord(let offset, let reason):
            "metric arena: invalid record at byte \(offset): \(reason)"
        }
    }
}
