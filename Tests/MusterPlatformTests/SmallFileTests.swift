// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import Testing

@Suite("Small files")
struct SmallFileTests {
    /// Calls a closure with a file that is gone afterwards, and a path to it.
    private func withFile(_ size: Int, _ body: (OwnedDescriptor, String) throws -> Void) throws {
        var name = Array("/tmp/muster-small-XXXXXX".utf8CString)
        let file = OwnedDescriptor(mkstemp(&name))
        unlink(name)
        let content = [UInt8](repeating: UInt8(ascii: "x"), count: size)
        try #require(write(file.rawValue, content, size) == size)
        try body(file, "/proc/self/fd/\(file.rawValue)")
    }

    @Test("Files up to the limit are read, longer ones are refused", arguments: [0, 1, 1 << 14, SmallFile.limit])
    func whole(size: Int) throws {
        try withFile(size) { _, path in
            for mustBeRegular in [false, true] {
                let bytes = try SmallFile.read(path, mustBeRegular: mustBeRegular)
                #expect(bytes.count == size)
            }
        }
    }

    @Test("Longer files, folders, devices and missing files are refused")
    func refused() throws {
        try withFile(SmallFile.limit + 1) { _, path in
            let error = #expect(throws: SmallFile.Failure.self) { try SmallFile.read(path) }
            #expect(error?.reason == "longer than 1048576 bytes")
        }
        let device = #expect(throws: SmallFile.Failure.self) { try SmallFile.read("/dev/zero", mustBeRegular: true) }
        #expect(device?.reason == "not a regular file")
        #expect(throws: SmallFile.Failure.self) { try SmallFile.read("/dev/zero") }
        #expect(throws: SmallFile.Failure.self) { try SmallFile.read("/proc") }
        let missing = #expect(throws: SmallFile.Failure.self) { try SmallFile.read("/nowhere/file") }
        #expect(missing?.reason == "No such file or directory")
    }

    @Test("Of a long file the beginning is read, again and again")
    func beginning() throws {
        try withFile(100_000) { file, path in
            #expect(SmallFile.beginning(of: path)?.utf8.count == 64 << 10)
            #expect(SmallFile.beginning(of: path, limit: 10) == "xxxxxxxxxx")
            #expect(SmallFile.beginning(of: file, limit: 3) == "xxx")
            #expect(SmallFile.beginning(of: file, limit: 3) == "xxx")
        }
        #expect(SmallFile.beginning(of: "/proc/self/stat")?.hasPrefix("\(getpid()) (") == true)
        #expect(SmallFile.beginning(of: "/nowhere/file") == nil)
    }

    @Test("A file has one identity, whatever it is reached by")
    func identity() throws {
        try withFile(1) { file, _ in
            let copy = OwnedDescriptor(dup(file.rawValue))
            let identity = try FileIdentity(of: file.rawValue)
            let copied = try FileIdentity(of: copy.rawValue)
            #expect(copied == identity)
            let inode = try copy.inode
            #expect(inode == identity.inode)
            try withFile(1) { other, _ in
                let another = try FileIdentity(of: other.rawValue)
                #expect(another != identity)
            }
        }
        #expect(throws: SystemError.self) { try FileIdentity(of: -1) }
        #expect(throws: SystemError.self) { try FileIdentity(ofFileAt: "/nowhere/file") }
    }

    @Test("A socket's address has its path or its abstract name, and no more than fits")
    func addresses() {
        func lengths(_ path: [UInt8]) -> (Int, UInt16) {
            UnixSocketAddress.with(path) { address, length in (Int(length), address.pointee.sa_family) }
        }
        #expect(lengths(Array("/a".utf8)) == (5, UInt16(AF_UNIX)))
        #expect(lengths(Array("\0a".utf8)) == (4, UInt16(AF_UNIX)))
        #expect(lengths([UInt8](repeating: 97, count: 500)).0 == 2 + UnixSocketAddress.capacity)
        #expect(lengths([0] + [UInt8](repeating: 97, count: 500)).0 == 2 + UnixSocketAddress.capacity)
    }
}
