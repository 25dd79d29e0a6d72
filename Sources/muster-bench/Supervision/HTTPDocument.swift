// SPDX-License-Identifier: Apache-2.0

import CMusterBench

/// A document fetched once.
enum HTTPDocument {
    /// Its body.
    static func body(port: Int, path: String) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 16 << 20)
        let count = Int(cmusterbench_fetch(Int32(port), path, &bytes, bytes.count))
        let separator = Array("\r\n\r\n".utf8)
        // Headers are short.
        for start in 0..<min(max(0, count), 4096) where bytes[start...].starts(with: separator) {
            return Array(bytes[(start + separator.count)..<count])
        }
        throw BenchmarkError("no document \(path) from port \(port)")
    }
}
