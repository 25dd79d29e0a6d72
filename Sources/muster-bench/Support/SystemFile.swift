// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Files of the kernel.
enum SystemFile {
    /// The beginning of a file, up to 64 KiB; empty when it cannot be read.
    static func read(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        return read(from: descriptor, limit: 64 << 10)
    }

    /// Reads until the end of a file or pipe.
    static func read(from descriptor: Int32, limit: Int) -> String {
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        while bytes.count < limit {
            let count = Glibc.read(descriptor, &part, part.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes.append(contentsOf: part[..<count])
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
