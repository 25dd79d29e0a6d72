// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster

/// A value with the end of its time. In its file the end comes first, as nanoseconds of the monotonic clock in eight
/// bytes, zero for never.
struct Item: Sendable {
    let value: [UInt8]
    let expires: MonotonicInstant?

    init(value: [UInt8], expires: MonotonicInstant?) {
        self.value = value
        self.expires = expires
    }

    func isExpired(at now: MonotonicInstant) -> Bool {
        expires.map { $0 <= now } ?? false
    }

    /// Reads an item; `nil` when there is none.
    init?(file path: String) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_size >= 8 else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        guard read(descriptor, &bytes, bytes.count) == bytes.count else { return nil }
        let end = bytes[..<8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        expires = end == 0 ? nil : MonotonicInstant(nanoseconds: Int64(bitPattern: end))
        value = Array(bytes[8...])
    }

    /// Writes the item into a new file.
    ///
    /// - Throws: `SystemError`.
    func write(to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        defer { close(descriptor) }
        let end = UInt64(bitPattern: expires?.nanoseconds ?? 0)
        let bytes = (0..<8).map { UInt8(truncatingIfNeeded: end >> (8 * $0)) } + value
        guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
            let error = SystemError("write \(path)")
            unlink(path)
            throw error
        }
    }
}
