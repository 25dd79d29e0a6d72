// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterPlatform
import MusterTestSupport
import Synchronization
import Testing

@testable import MusterSupervision

@Suite("Bells", .timeLimit(.minutes(3)))
struct BellsTests {
    /// A thread that holds a bell, as a worker's first one does.
    private final class Holder: Sendable {
        let reader: VitalSignsReader
        private let mayEnd = Gate()

        init() async throws {
            let reader = try VitalSignsReader.create(name: "test")
            self.reader = reader
            let mayEnd = mayEnd
            let held = Latch()
            try NativeThread.start(name: "holder") {
                let writer = try? VitalSignsWriter(descriptor: reader.descriptor.rawValue) { true }
                if writer?.holdBell() == true { held.countDown() }
                mayEnd.pass()
                // The memory is mapped until the process ends.
                if let writer { _ = Unmanaged.passRetained(writer) }
            }
            await held.wait()
        }

        deinit { mayEnd.open() }

        func end() { mayEnd.open() }

        /// Writes over the bell, as a worker that has gone astray might.
        func scribble(_ value: UInt32) {
            reader.bell.assumingMemoryBound(to: Atomic<UInt32>.self).pointee.store(value, ordering: .relaxed)
        }
    }

    /// What has rung, in its order.
    private final class Record: Sendable {
        let rings = Locked<[Int]>([])
        let latch: Latch

        init(expecting count: Int = 1) { latch = Latch(count) }

        func add(_ incarnation: Int) {
            rings.withLock { $0.append(incarnation) }
            latch.countDown()
        }
    }

    @Test("The end of the thread that holds it rings a bell, once, and no other")
    func end() async throws {
        let record = Record(expecting: 2)
        let bells = Bells { record.add($0) }
        let holders = try await [Holder(), Holder(), Holder()]
        for (index, holder) in holders.enumerated() { bells.listen(for: index, of: holder.reader) }
        holders[1].end()
        // A change in between must not lose what has not been heard.
        bells.forget(0)
        holders[2].end()
        await record.latch.wait()
        holders[0].end()
        let last = Record()
        let others = Bells { last.add($0) }
        let another = try await Holder()
        others.listen(for: 7, of: another.reader)
        another.end()
        await last.latch.wait()
        #expect(record.rings.withLock { $0.sorted() } == [1, 2])
    }

    @Test("An end before the listening is not heard: the process' descriptor tells of it")
    func late() async throws {
        let record = Record()
        let bells = Bells { record.add($0) }
        let dead = try await Holder()
        let first = Record()
        let others = Bells { first.add($0) }
        others.listen(for: 1, of: dead.reader)
        dead.end()
        await first.latch.wait()
        bells.listen(for: 1, of: dead.reader)
        // Nobody holds this one.
        bells.listen(for: 2, of: try VitalSignsReader.create(name: "test"))
        let alive = try await Holder()
        bells.listen(for: 3, of: alive.reader)
        alive.end()
        await record.latch.wait()
        #expect(record.rings.withLock { $0 } == [3])
    }

    @Test(
        "What a worker writes there ends the listening, and rings once at most",
        arguments: [0, 1, 0xFFFF, 0x4000_0000])
    func scribbled(value: UInt32) async throws {
        let rings = value & 0x4000_0000 != 0
        let record = Record(expecting: rings ? 2 : 1)
        let bells = Bells { record.add($0) }
        let (astray, sound) = try await (Holder(), Holder())
        bells.listen(for: 1, of: astray.reader)
        bells.listen(for: 2, of: sound.reader)
        astray.scribble(value)
        // Makes the thread look.
        sound.end()
        await record.latch.wait()
        astray.scribble(value)
        let next = try await Holder()
        let last = Record()
        let others = Bells { last.add($0) }
        others.listen(for: 1, of: next.reader)
        next.end()
        await last.latch.wait()
        #expect(record.rings.withLock { $0.sorted() } == (rings ? [1, 2] : [2]))
    }

    @Test("More processes than the system call takes are too many for some, and harm none")
    func many() async throws {
        let record = Record(expecting: 127)
        let later = Record()
        let bells = Bells { ($0 < 1000 ? record : later).add($0) }
        var holders: [Holder] = []
        for index in 0..<130 {
            holders.append(try await Holder())
            bells.listen(for: index, of: holders[index].reader)
        }
        for holder in holders.reversed() { holder.end() }
        await record.latch.wait()
        #expect(record.rings.withLock { $0.sorted() } == Array(0..<127))
        // There is room again.
        let another = try await Holder()
        bells.listen(for: 1000, of: another.reader)
        another.end()
        await later.latch.wait()
    }

    @Test("The thread ends with the bells")
    func over() async throws {
        var bells: Bells? = Bells { _ in }
        weak let reader: VitalSignsReader?
        let mayEnd = Gate()
        defer { mayEnd.open() }
        do {
            let file = try VitalSignsReader.create(name: "test")
            reader = file
            let writer = try VitalSignsWriter(descriptor: file.descriptor.rawValue) { true }
            let held = Latch()
            try NativeThread.start(name: "holder") {
                writer.holdBell()
                held.countDown()
                mayEnd.pass()
            }
            await held.wait()
            bells?.listen(for: 1, of: file)
        }
        #expect(reader != nil)
        bells = nil
        try await until { reader == nil }
    }
}
