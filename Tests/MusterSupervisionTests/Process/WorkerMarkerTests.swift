// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterSupervision

@Suite("Worker marker")
struct WorkerMarkerTests {
    private func marker(slot: Int? = 3) -> WorkerMarker {
        WorkerMarker(
            group: 1, name: "ä b", slot: slot, incarnation: 17, supervisor: 4711, controlInode: 123_456_789_012,
            arena: 3,
            arenaInode: 987, vitalSigns: 4, control: 5,
            sockets: [.init(name: "web", descriptor: 6), .init(name: "ö;=: %\n\u{0}", descriptor: 7)],
            settings: WorkerSettings(["muster.a": "1,2:3;=%", "muster.b": ""]))
    }

    @Test("A marker is read as it was written", arguments: [nil, 0, 3] as [Int?])
    func roundTrip(slot: Int?) {
        #expect(WorkerMarker(decoding: marker(slot: slot).encoded) == marker(slot: slot))
        #expect(!marker(slot: slot).encoded.utf8.contains { $0 <= 0x20 || $0 >= 0x7F })
    }

    @Test("Settings are handed over as they were loaded, none of them too")
    func settings() throws {
        for settings in [nil, WorkerSettings([:]), WorkerSettings(["a": "ü\n"])] {
            var marker = marker()
            marker.settings = settings
            #expect(WorkerMarker(decoding: marker.encoded)?.settings == settings)
            #expect(try ControlMessage(decoding: ControlMessage.reset(settings).encoded) == .reset(settings))
        }
        for text in ["", "2", "1,", "1,a", "1,a:1,a:2", "1,a:%", "1,a:1:2", ",a:1"] {
            #expect(WorkerSettings(decoding: text) == nil, "\(text)")
        }
    }

    @Test(
        "What is no marker is none",
        arguments: [
            ("", ""), ("group=1", "group=-1"), ("group=1", "group=x"), ("group=1", "group="), ("group=1;", ""),
            ("group=1", "group=99999999999999999999"), ("slot=3", "slot=-1"), ("slot=3", "slot=Spare"),
            ("arena=3", "arena=2"), ("arena=3", "arena=4"), ("control=5", "control=4294967299"),
            ("supervisor=4711", "supervisor=0"), ("supervisor=4711", "supervisor=99999999999"),
            (";inode=1", ";inode=-1"), ("arena-inode=9", "arena-inode=x"), ("name=", "title="), ("name=%", "name="),
            ("incarnation=17", "incarnation=17;incarnation=18"), ("incarnation=17", "more=1;incarnation=17"),
            ("incarnation=17", "incarnation"), ("6:web", "6web"), ("6:web", "5:web"), ("6:web", "6:%"),
            ("6:web", "6:%4"),
            ("6:web", "6:%FF"), ("6:web", "6:a b"), ("6:web", "x:web"), (";socket=6", ";;socket=6"),
        ])
    func hostile(part: String, replacement: String) {
        let text = marker().encoded
        let spoilt = part.isEmpty ? "" : text.replacing(part, with: replacement)
        #expect(spoilt != text)
        #expect(WorkerMarker(decoding: spoilt) == nil, "\(spoilt)")
    }

    @Test("Bytes of any kind are a marker or none")
    func fuzz() {
        var generator = SplitMix64(seed: 3)
        let text = Array(marker().encoded.utf8)
        for _ in 0..<Scale.of(5000) {
            var spoilt = text
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let index = Int.random(in: 0..<spoilt.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: spoilt[index] = UInt8.random(in: 0...255, using: &generator)
                case 1: spoilt.remove(at: index)
                default: spoilt.removeSubrange(index...)
                }
                if spoilt.isEmpty { break }
            }
            let marker = WorkerMarker(decoding: String(decoding: spoilt, as: UTF8.self))
            if let marker { #expect(WorkerMarker(decoding: marker.encoded) == marker) }
        }
    }

    /// A marker of descriptors that are there.
    private struct Bench {
        let channel: ControlChannel
        let vital: VitalSignsReader
        let arena: VitalSignsReader
        let socket: Pipe
        var marker: WorkerMarker

        init() throws {
            channel = try ControlChannel.pair().worker
            vital = try VitalSignsReader.create(name: "vital")
            arena = try VitalSignsReader.create(name: "arena")
            socket = try Pipe()
            marker = WorkerMarker(
                group: 0, name: "web", slot: 0, incarnation: 1, supervisor: getppid(), controlInode: try channel.inode,
                arena: arena.descriptor.rawValue, arenaInode: 1, vitalSigns: vital.descriptor.rawValue,
                control: channel.descriptor.rawValue, sockets: [.init(name: "web", descriptor: socket.writing)])
        }
    }

    @Test("A worker is one, and its descriptors are closed for programs that it starts")
    func worker() throws {
        let bench = try Bench()
        let numbers = [
            bench.marker.control, bench.marker.arena, bench.marker.vitalSigns, bench.socket.writing,
        ]
        for number in numbers { _ = fcntl(number, F_SETFD, 0) }
        #expect(WorkerMarker.claim(value: bench.marker.encoded, parent: getppid()) == .worker(bench.marker))
        for number in numbers { #expect(fcntl(number, F_GETFD) & FD_CLOEXEC != 0) }
    }

    @Test("A worker whose parent is another process is an orphan")
    func orphan() throws {
        let bench = try Bench()
        #expect(WorkerMarker.claim(value: bench.marker.encoded, parent: 1) == .orphan(bench.marker))
    }

    @Test("Who has inherited the variable alone is nobody's worker")
    func environmentOnly() throws {
        let bench = try Bench()
        #expect(WorkerMarker.claim(value: nil, parent: getppid()) == .none)
        #expect(WorkerMarker.claim(value: "1", parent: getppid()) == .none)
        var marker = bench.marker
        marker.controlInode += 1
        #expect(WorkerMarker.claim(value: marker.encoded, parent: getppid()) == .none)
        // Another socket has the number, and a file has the inode.
        let other = try SocketPair()
        marker = bench.marker
        marker.control = other.near.rawValue
        #expect(WorkerMarker.claim(value: marker.encoded, parent: getppid()) == .none)
        var status = stat()
        fstat(other.near.rawValue, &status)
        marker.controlInode = UInt64(status.st_ino)
        #expect(WorkerMarker.claim(value: marker.encoded, parent: getppid()) == .none)
        marker.control = bench.socket.reading.rawValue
        fstat(marker.control, &status)
        marker.controlInode = UInt64(status.st_ino)
        #expect(WorkerMarker.claim(value: marker.encoded, parent: getppid()) == .none)
        // A descriptor is missing.
        marker = bench.marker
        marker.sockets.append(.init(name: "gone", descriptor: 1_000_000))
        #expect(WorkerMarker.claim(value: marker.encoded, parent: getppid()) == .none)
    }

    @Test("This process is nobody's worker")
    func here() {
        #expect(WorkerMarker.current == .none)
    }
}
