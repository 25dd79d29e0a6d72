// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Reads files of texts, which are small.
public enum TextFile {
    /// The most that is read, in bytes; more is no file of settings.
    public static let limit = 1 << 20

    /// Reads a file.
    ///
    /// - Parameter path: Its path.
    /// - Returns: Its text; what is no UTF-8 in it becomes U+FFFD.
    public static func read(_ path: String) -> Result<String, ReadFailure> {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return .failure(ReadFailure(String(cString: strerror(errno)))) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 {
                if errno == EINTR { continue }
                return .failure(ReadFailure(String(cString: strerror(errno))))
            }
            if count == 0 { break }
            bytes += chunk[..<count]
            if bytes.count > limit { return .failure(ReadFailure("it has more than \(limit) bytes")) }
        }
        return .success(String(decoding: bytes, as: UTF8.self))
    }
}
