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
        /// Whether a spare had been told, for each of them.
        let claims = Locked<[Bool]>([])
        let latch: Latch

        init(expecting count: Int = 1) { latch = Latch(count) }

        func add(_ incarnation: Int, _ isClaimed: Bool) {
            claims.withLock { $0.append(isClaimed) }
            rings.withLock { $0.append(incarnation) }
            latch.countDown()
        }
    }

    @Test("The end of the thread that holds it rings a bell, once, and no other")
    func end() async throws {
        let record = Record(expecting: 2)
        let bells = Bells(ring: record.add)
        let holders = try await [Holder(), Holder(), Holder()]
        for (index, holder) in holders.enumerated() { bells.listen(for: index, of: holder.reader) }
        holders[1].end()
        // A change in between must not lose what has not been heard.
        bells.forget(0)
        holders[2].end()
        await record.latch.wait()
        holders[0].end()
        let last = Record()
        let others = Bells(ring: last.add)
        let another = try await Holder()
        others.listen(for: 7, of: another.reader)
        another.end()
        await last.latch.wait()
        #expect(record.rings.withLock { $0.sorted() } == [1, 2])
    }

    @Test("An end before the listening is not heard: the process' descriptor tells of it")
    func late() async throws {
        let record = Record()
        let bells = Bells(ring: record.add)
        let dead = try await Holder()
        let first = Record()
        let others = Bells(ring: first.add)
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
        let bells = Bells(ring: record.add)
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
        let others = Bells(ring: last.add)
        others.listen(for: 1, of: next.reader)
        next.end()
        await last.latch.wait()
        #expect(record.rings.withLock { $0.sorted() } == (rings ? [1, 2] : [2]))
    }

    @Test("More processes than the system call takes are too many for some, and harm none")
    func many() async throws {
        let record = Record(expecting: 127)
        let later = Record()
        let bells = Bells { ($0 < 1000 ? record : later).add($0, $1) }
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

    /// The end of a spare's channel, which tells what it has been told.
    private struct Spare {
        let heir: Heir
        let channel: ControlChannel

        init(_ incarnation: Int) throws {
            let (ours, theirs) = try ControlChannel.pair()
            heir = Heir(incarnation: incarnation, channel: ours)
            channel = theirs
        }

        /// The slot that it has been told to take over.
        var slot: Int? { if case .message(.takeOver(let slot)) = channel.receive() { slot } else { nil } }
    }

    @Test("A spare that is on offer is told of the first slot of its group that rings, and of that alone")
    func claim() async throws {
        let record = Record(expecting: 4)
        let bells = Bells(ring: record.add)
        let holders = try await [Holder(), Holder(), Holder(), Holder()]
        let (spare, other) = (try Spare(10), try Spare(11))
        bells.listen(for: 0, of: holders[0].reader, claimable: WorkerID(group: 0, slot: 5))
        bells.listen(for: 1, of: holders[1].reader, claimable: WorkerID(group: 0, slot: 6))
        bells.listen(for: 2, of: holders[2].reader, claimable: WorkerID(group: 1, slot: 7))
        bells.listen(for: 3, of: holders[3].reader)
        bells.withhold(2)
        bells.offer([0: spare.heir, 1: other.heir])
        for (index, holder) in holders.enumerated() {
            holder.end()
            try await until { record.rings.withLock { $0.count } == index + 1 }
        }
        #expect(record.rings.withLock { $0 } == [0, 1, 2, 3])
        #expect(record.claims.withLock { $0 } == [true, false, false, false])
        #expect(spare.slot == 5 && spare.slot == nil && other.slot == nil)
        let taken = bells.withdraw()
        #expect(taken.count == 1 && taken.first?.incarnation == 0 && taken.first?.heir == 10)
        #expect(bells.withdraw().isEmpty)
    }

    @Test("What is no longer on offer, or dead, is told of nothing")
    func withdrawn() async throws {
        let record = Record(expecting: 2)
        let bells = Bells(ring: record.add)
        let holders = try await [Holder(), Holder()]
        for index in 0...1 {
            bells.listen(for: index, of: holders[index].reader, claimable: WorkerID(group: 0, slot: index))
        }
        let spare = try Spare(10)
        bells.offer([0: spare.heir])
        #expect(bells.withdraw().isEmpty)
        holders[0].end()
        try await until { record.rings.withLock { $0 } == [0] }
        bells.offer([0: Heir(incarnation: 11, channel: try ControlChannel.pair().0)])
        holders[1].end()
        await record.latch.wait()
        #expect(record.claims.withLock { $0 } == [false, false])
        #expect(spare.slot == nil && bells.withdraw().isEmpty)
    }

    @Test("The thread ends with the bells")
    func over() async throws {
        var bells: Bells? = Bells { _, _ in }
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
