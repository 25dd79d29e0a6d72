// SPDX-License-Identifier: Apache-2.0

package import Glibc

/// Reads files that are small: settings, secrets, and what the kernel shows in `/proc` and `/sys`.
package enum SmallFile {
    /// Why a file could not be read.
    package struct Failure: Error, Hashable {
        /// The reason in words, for example `No such file or directory`.
        package let reason: String

        package init(reason: String) {
            self.reason = reason
        }

        fileprivate static func system(_ code: Int32) -> Failure { Failure(reason: String(cString: strerror(code))) }
    }

    /// The longest file of settings or secrets.
    package static let limit = 1 << 20

    /// Reads a whole file; one of more than ``limit`` bytes is refused.
    ///
    /// - Parameter mustBeRegular: Refuses anything but a regular file; a named pipe could block forever.
    package static func read(_ path: String, mustBeRegular: Bool = false) throws(Failure) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | (mustBeRegular ? O_NONBLOCK : 0))
        guard descriptor >= 0 else { throw .system(errno) }
        defer { close(descriptor) }
        if mustBeRegular {
            var status = stat()
            guard fstat(descriptor, &status) == 0 else { throw .system(errno) }
            guard status.st_mode & S_IFMT == S_IFREG else { throw Failure(reason: "not a regular file") }
        }
        let bytes = try read(limit: limit + 1) { buffer, _ in Glibc.read(descriptor, buffer.baseAddress, buffer.count) }
        guard bytes.count <= limit else { throw Failure(reason: "longer than \(limit) bytes") }
        return bytes
    }

    /// The beginning of a file's text, up to a limit; `nil` when it cannot be read.
    package static func beginning(of path: String, limit: Int = 64 << 10) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return beginning(ofStream: descriptor, limit: limit)
    }

    /// The beginning of what an open file or a pipe has left to read; `nil` when it cannot be read.
    package static func beginning(ofStream descriptor: Int32, limit: Int) -> String? {
        text(limit: limit) { buffer, _ in Glibc.read(descriptor, buffer.baseAddress, buffer.count) }
    }

    /// The beginning of an open file's text, whatever was read of it before; `nil` when it cannot be read.
    package static func beginning(of file: OwnedDescriptor, limit: Int = 64 << 10) -> String? {
        text(limit: limit) { buffer, offset in pread(file.rawValue, buffer.baseAddress, buffer.count, offset) }
    }

    /// The fields of the file `stat` in a folder of `/proc`, from the state on; `nil` when it cannot be read.
    package static func statFields(in folder: String) -> [Substring]? {
        // The name before them, in parentheses, may hold any character.
        guard let text = beginning(of: folder + "/stat"), let end = text.lastIndex(of: ")") else { return nil }
        return text[text.index(after: end)...].split(separator: " ")
    }

    /// What a symbolic link points to; `nil` when there is none.
    package static func target(of path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = buffer.withUnsafeMutableBytes { bytes in
            bytes.baseAddress.map { readlink(path, $0, bytes.count) } ?? -1
        }
        return count < 0 ? nil : String(decoding: buffer.prefix(count), as: UTF8.self)
    }

    private static func text(limit: Int, _ read: (UnsafeMutableRawBufferPointer, Int) -> Int) -> String? {
        (try? Self.read(limit: limit, read)).map { String(decoding: $0, as: UTF8.self) }
    }

    private static func read(
        limit: Int, _ read: (UnsafeMutableRawBufferPointer, Int) -> Int
    ) throws(Failure) -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: min(limit, 16 << 10))
        while bytes.count < limit {
            let count = chunk.withUnsafeMutableBytes { read($0, bytes.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .system(errno) }
            if count == 0 { break }
            bytes += chunk.prefix(min(count, limit - bytes.count))
        }
        return bytes
    }
}

/// What tells one file, or one socket, from any other that exists at the same time.
package struct FileIdentity: Hashable, Sendable {
    package let device: UInt64
    package let inode: UInt64

    private init(_ status: stat) {
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }

    /// The identity of an open file.
    package init(of descriptor: Int32) throws(SystemError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw SystemError("fstat") }
        self.init(status)
    }

    /// The identity of the file at a path, which is not followed when it is a link.
    package init(ofFileAt path: String) throws(SystemError) {
        var status = stat()
        guard lstat(path, &status) == 0 else { throw SystemError("lstat") }
        self.init(status)
    }
}

extension OwnedDescriptor {
    /// The number by which the kernel knows the file; no other of its kind has it while this one is open.
    package var inode: UInt64 {
        get throws(SystemError) { try FileIdentity(of: rawValue).inode }
    }
}

/// A Unix socket's address as the kernel wants it.
package enum UnixSocketAddress {
    /// How many bytes a path, or an abstract name with its zero byte in front, may have. A path needs a zero byte
    /// behind it, too.
    package static let capacity = MemoryLayout.size(ofValue: sockaddr_un().sun_path)

    /// Calls a closure with the address.
    ///
    /// - Parameter path: The bytes of the path, or of an abstract name with a zero byte in front; at most ``capacity``
    ///   of them count.
    package static func with<Result>(
        _ path: some Collection<UInt8>, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let isAbstract = path.first == 0
        let path = path.prefix(isAbstract ? capacity : capacity - 1)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        let start = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? MemoryLayout<sa_family_t>.size
        // The zero byte behind a path counts; one behind an abstract name would be part of it.
        let length = start + path.count + (isAbstract ? 0 : 1)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(length)) }
        }
    }
}
