// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterPlatform
import Synchronization
import Testing

@testable import MusterMetrics

@Suite("Inherited arena")
struct InheritedArenaTests {
    private static func inherited(_ marker: String?) -> InheritedArena? {
        InheritedArena { $0 == "MUSTER_WORKER" ? marker : nil }
    }

    private static func marker(_ descriptor: Int32, inode: UInt64? = nil) throws -> String {
        let own = try FileIdentity(of: descriptor).inode
        return "group=0;slot=2;arena=\(descriptor);arena-inode=\(inode ?? own);sockets=web:7"
    }

    @Test("A worker's registry counts in the arena that it inherited")
    func right() throws {
        let file = try ArenaFile.create(name: "test", capacity: 1 << 16)
        let inherited = try #require(Self.inherited(Self.marker(file.rawValue)))
        #expect(inherited.descriptor == file.rawValue)
        let (registry, failure) = MetricRegistry.start(inherited)
        #expect(failure == nil)
        try registry.counter("jobs_total", help: "").increment(by: 3)
        let reader = try ArenaReader(descriptor: file.rawValue)
        #expect(reader.value(of: "jobs_total") == 3)
        #expect(reader.writerPid == getpid())
        // The original belongs to the launcher; the registry's own descriptor is not passed on.
        #expect(registry.arena.descriptor.rawValue != file.rawValue)
        #expect(fcntl(registry.arena.descriptor.rawValue, F_GETFD) & FD_CLOEXEC != 0)
    }

    @Test("A process that inherited only the variable, or half of it, has no arena")
    func missing() throws {
        let file = try ArenaFile.create(name: "test", capacity: 1 << 16)
        let inode = try file.inode
        #expect(Self.inherited(nil) == nil)
        #expect(Self.inherited("") == nil)
        #expect(Self.inherited("group=0 slot=1") == nil)
        #expect(Self.inherited("arena=\(file.rawValue)") == nil)
        #expect(Self.inherited("arena-inode=\(inode)") == nil)
        #expect(Self.inherited("arena=;arena-inode=\(inode)") == nil)
        #expect(Self.inherited("arena=x;arena-inode=\(inode)") == nil)
        #expect(Self.inherited("arena=-1;arena-inode=\(inode)") == nil)
        #expect(Self.inherited("arena=99999999999;arena-inode=\(inode)") == nil)
        #expect(try Self.inherited(Self.marker(file.rawValue, inode: inode + 1)) == nil)
        // Without an inherited arena the process has one of its own, as ever.
        let (registry, failure) = MetricRegistry.start(nil)
        #expect(failure == nil && registry.arena.descriptor.rawValue >= 0)
    }

    @Test("A file that could be resized under the reader's feet is no arena")
    func unsealed() throws {
        var template = "/dev/shm/muster-test-XXXXXX".utf8CString.map { $0 }
        let file = OwnedDescriptor(mkstemp(&template))
        unlink(template)
        #expect(ftruncate(file.rawValue, 1 << 16) == 0)
        #expect(try Self.inherited(Self.marker(file.rawValue)) == nil)
        let plain = OwnedDescriptor(open("/proc/self/exe", O_RDONLY | O_CLOEXEC))
        #expect(try Self.inherited(Self.marker(plain.rawValue)) == nil)
    }

    @Test("A worker whose arena is damaged goes on without metrics and says what to do")
    func damaged() throws {
        let writer = try ArenaWriter.create(name: "test", capacity: 1 << 16)
        writer.mapping.cell(at: ArenaLayout.Offset.magic).pointee.store(0xBAD, ordering: .relaxed)
        let inherited = try #require(Self.inherited(Self.marker(writer.descriptor.rawValue)))
        let (registry, failure) = MetricRegistry.start(inherited)
        #expect(failure?.error == .wrongMagic(found: 0xBAD))
        #expect(failure?.remedy.contains("replace this worker") == true)
        #expect(registry.arena.descriptor.rawValue == -1)
        let jobs = try registry.counter("jobs_total", help: "")
        jobs.increment()
        #expect(jobs.value == 1)
    }

    @Test("The next process of the slot goes on with the same arena")
    func successor() throws {
        let file = try ArenaFile.create(name: "test", capacity: 1 << 16)
        for _ in 0..<3 {
            let (registry, _) = MetricRegistry.start(Self.inherited(try Self.marker(file.rawValue)))
            try registry.counter("jobs_total", help: "").increment()
        }
        let reader = try ArenaReader(descriptor: file.rawValue)
        #expect(reader.value(of: "jobs_total") == 3)
        #expect(reader.epoch == 3)
    }
}
