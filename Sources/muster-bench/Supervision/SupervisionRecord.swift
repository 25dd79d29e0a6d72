// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What a supervised process tells the benchmark through its standard output. The C program writes the same.
struct SupervisionRecord: BitwiseCopyable {
    enum Kind: Int64 {
        /// A worker's first line; the value is its instant in nanoseconds.
        case started = 1
        /// Every worker is ready; the value is the endpoint's port.
        case up = 2
    }

    private var kindNumber: Int64
    private(set) var pid: Int64
    private(set) var value: Int64

    var kind: Kind? { Kind(rawValue: kindNumber) }

    init(kind: Kind, value: Int64) {
        kindNumber = kind.rawValue
        pid = Int64(getpid())
        self.value = value
    }

    /// Reads one from a pipe; `nil` at its end or when none comes within a few seconds.
    init?(from descriptor: Int32) {
        self.init(kind: .up, value: 0)
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, 10_000) == 1 else { return nil }
        let size = MemoryLayout<Self>.size
        // Records are shorter than what a pipe writes in one piece.
        guard withUnsafeMutableBytes(of: &self, { read(descriptor, $0.baseAddress, size) }) == size else { return nil }
    }

    func send() {
        _ = withUnsafeBytes(of: self) { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
    }
}
