// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterLock
import MusterPlatform
import MusterTestSupport

/// A blocking pipe, close-on-exec.
final class Pipe: Sendable {
    let reading: OwnedDescriptor
    private let writingEnd: Locked<OwnedDescriptor?>

    init() throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw SystemError("pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        reading = OwnedDescriptor(ends[0])
        writingEnd = Locked(OwnedDescriptor(ends[1]))
    }

    /// The number of the end to write to; -1 when it is closed.
    var writing: Int32 { writingEnd.withLock { $0?.rawValue ?? -1 } }

    func closeWriting() {
        writingEnd.withLock { $0 = nil }
    }

    /// Closes the end to write to here, and reads until everybody else has closed theirs.
    func rest() -> String {
        closeWriting()
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(reading.rawValue, &buffer, buffer.count)
            guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
            bytes += buffer[..<count]
        }
    }

    /// Reads up to the next newline.
    func line() -> String {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while read(reading.rawValue, &byte, 1) == 1, byte != UInt8(ascii: "\n") { bytes.append(byte) }
        return String(decoding: bytes, as: UTF8.self)
    }
}
