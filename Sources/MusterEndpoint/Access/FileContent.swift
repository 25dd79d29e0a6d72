// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

/// Reads files that may be anything, because somebody else writes them.
enum FileContent {
    /// Longer ones are refused.
    static let longest = 1 << 20

    /// Why there is no content.
    struct Problem: Error {
        var reason: String
    }

    /// Reads a regular file.
    ///
    /// - Parameter path: Where it is.
    static func read(_ path: String) throws(Problem) -> [UInt8] {
        // Without waiting: a named pipe would wait for its writer for ever.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw Problem(reason: String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Problem(reason: String(cString: strerror(errno))) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw Problem(reason: "it is no regular file") }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Problem(reason: String(cString: strerror(errno))) }
            if count == 0 { return bytes }
            bytes += buffer.prefix(count)
            guard bytes.count <= longest else { throw Problem(reason: "it is longer than \(longest) bytes") }
        }
    }
}
