// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterHealth
import MusterLock
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterSupervision

@Suite("Vital signs", .timeLimit(.minutes(3)))
struct VitalSignsTests {
    private let reader: VitalSignsReader
    private let writer: VitalSignsWriter
    private let calls = Counter()
    private let limit = Duration.nanoseconds(100)

    init() throws {
        reader = try VitalSignsReader.create(name: "test")
        let calls = calls
        writer = try VitalSignsWriter(descriptor: reader.descriptor.rawValue) {
            calls.add()
            return true
        }
    }

    private func at(_ nanoseconds: Int64) -> MonotonicInstant { MonotonicInstant(nanoseconds: nanoseconds) }

    private func watch(_ now: Int64, settling: Bool = false) -> VitalVerdict {
        reader.watch(limit: limit, now: at(now), settling: settling)
    }

    // MARK: Judging

    @Test("A turn hangs when it has taken the limit")
    func turn() {
        #expect(watch(1000) == .quiet)
        writer.turns.begin(at: 1010)
        #expect(watch(1020) == .nextLook(at: at(1110)))
        #expect(watch(1109) == .nextLook(at: at(1110)))
        #expect(watch(1110) == .hung(Hang(cause: .turn, since: at(1010))))
        #expect(reader.busyTime(at: at(1050)) == .nanoseconds(40))
        writer.turns.end(turns: 1)
        writer.turns.sleep()
        #expect(watch(1120) == .quiet)
        #expect(reader.turns == 1)
        #expect(reader.lastTurn == at(1010))
        #expect(reader.busyTime(at: at(1050)) == .zero)
    }

    @Test("A deadline hangs when it has passed, and not when it was moved, cleared or given back")
    func deadline() throws {
        let first = try #require(writer.allocateDeadline())
        var second = writer.allocateDeadline()
        #expect(watch(1000) == .quiet)
        first.set(5000)
        second?.set(at(3000))
        #expect(watch(1000) == .nextLook(at: at(3000)))
        #expect(watch(3000) == .hung(Hang(cause: .deadline(cell: 1), since: at(3000))))
        second?.set(6000)
        #expect(watch(3000) == .nextLook(at: at(5000)))
        first.clear()
        #expect(watch(5500) == .nextLook(at: at(6000)))
        second = nil
        #expect(watch(7000) == .quiet)
    }

    @Test("A turn of a further thread hangs when it lasts longer than the limit, and its cell is given back")
    func thread() throws {
        let deadline = try #require(writer.allocateDeadline())
        var thread = writer.makeTurnPublisher()
        #expect(watch(1000) == .quiet)
        // The limit is 100.
        thread?.begin(at: 1010)
        #expect(watch(1010) == .nextLook(at: at(1110)))
        #expect(watch(1110) == .hung(Hang(cause: .thread(cell: 1), since: at(1010))))
        #expect(reader.lastProgress(at: at(1050), stoppedSince: nil) == at(1010))
        thread?.sleep()
        #expect(watch(1120) == .quiet)
        deadline.set(5000)
        thread?.begin(at: 1200)
        #expect(watch(1200) == .nextLook(at: at(1300)))
        // It calls for a look that comes too late.
        let before = calls.value
        thread?.sleep()
        #expect(watch(1250) == .nextLook(at: at(5000)))
        thread?.begin(at: 1260)
        #expect(calls.value == before + 1)
        thread?.sleep()
        thread = nil
        #expect(watch(1400) == .nextLook(at: at(5000)))
        deadline.clear()
        #expect(writer.allocateDeadline() != nil)
    }

    @Test("There are thousands of deadline cells; one that was given back is used again")
    func allCells() throws {
        var cells: [DeadlineCell] = []
        while let cell = writer.allocateDeadline() { cells.append(cell) }
        #expect(cells.count == 6656)
        for (index, cell) in cells.enumerated() { cell.set(Int64(10_000 + index)) }
        #expect(watch(1000) == .nextLook(at: at(10_000)))
        for cell in cells.dropLast() { cell.clear() }
        #expect(watch(1000) == .nextLook(at: at(10_000 + 6655)))
        cells.removeLast()
        #expect(watch(1000) == .quiet)
        let again = try #require(writer.allocateDeadline())
        #expect(writer.allocateDeadline() == nil)
        again.set(7000)
        #expect(watch(1000) == .nextLook(at: at(7000)))
    }

    @Test("A check of the live level hangs when it has failed, or not reported, for the limit")
    func health() {
        var sign = HealthSign(
            name: "db", levels: [.live, .ready], result: .pass, reportedAt: at(1000), maximumAge: .nanoseconds(500))
        #expect(writer.setHealth(sign))
        #expect(watch(1000) == .nextLook(at: at(1600)))
        #expect(watch(1600) == .hung(Hang(cause: .health(name: "db"), since: at(1500))))
        sign.reportedAt = at(1600)
        sign.result = .fail("")
        writer.setHealth(sign)
        #expect(watch(1650) == .nextLook(at: at(1700)))
        // A new failure does not put off what the first one has begun.
        sign.reportedAt = at(1690)
        writer.setHealth(sign)
        #expect(watch(1690) == .nextLook(at: at(1700)))
        #expect(watch(1700) == .hung(Hang(cause: .health(name: "db"), since: at(1600))))
        sign.result = .warn("")
        sign.maximumAge = .zero
        writer.setHealth(sign)
        #expect(watch(9000) == .quiet)
        writer.setHealth(HealthSign(name: "ready", levels: [.ready], result: .fail(""), reportedAt: at(1)))
        #expect(watch(9000) == .quiet)
    }

    @Test("Without a limit nothing is judged")
    func unlimited() {
        writer.turns.begin(at: 1)
        #expect(reader.watch(limit: .zero, now: at(1_000_000)) == .quiet)
    }

    // MARK: Attention

    @Test("A quiet worker calls once, when something could hang")
    func attention() throws {
        writer.turns.begin(at: 10)
        writer.turns.sleep()
        #expect(calls.value == 0)
        #expect(watch(1000) == .quiet)
        writer.turns.begin(at: 1010)
        #expect(calls.value == 1)
        writer.turns.sleep()
        writer.turns.begin(at: 1020)
        #expect(calls.value == 1)
        #expect(watch(1030, settling: true) == .nextLook(at: at(1120)))
        writer.turns.sleep()
        #expect(watch(1030, settling: true) == .nextLook(at: at(1130)))
        // The next look is soon enough for these.
        for start in stride(from: Int64(1031), to: 1100, by: 10) {
            writer.turns.begin(at: start)
            writer.turns.sleep()
        }
        #expect(calls.value == 1)
        let cell = try #require(writer.allocateDeadline())
        cell.set(1130)
        #expect(calls.value == 1)
        cell.set(1129)
        #expect(calls.value == 2)
        #expect(watch(1100, settling: true) == .nextLook(at: at(1129)))
    }

    @Test("A worker whose next deadline is far off calls for what comes before it")
    func nearer() throws {
        let far = try #require(writer.allocateDeadline())
        let near = try #require(writer.allocateDeadline())
        far.set(1_000_000)
        #expect(watch(1000) == .nextLook(at: at(1_000_000)))
        near.set(2_000_000)
        #expect(calls.value == 0)
        near.set(5000)
        #expect(calls.value == 1)
        #expect(watch(1000) == .nextLook(at: at(5000)))
        writer.setHealth(HealthSign(name: "x", levels: [.live], result: .fail(""), reportedAt: at(1000)))
        #expect(calls.value == 2)
        writer.turns.begin(at: 4000)
        #expect(watch(1000) == .nextLook(at: at(1100)))
    }

    @Test("A call that did not get through is made again")
    func refused() throws {
        let calls = Counter()
        let isMute = Flag()
        let writer = try VitalSignsWriter(descriptor: reader.descriptor.rawValue) {
            calls.add()
            return !isMute.value
        }
        #expect(watch(1000) == .quiet)
        isMute.value = true
        writer.turns.begin(at: 1010)
        writer.turns.begin(at: 1020)
        #expect(calls.value == 2)
        isMute.value = false
        writer.turns.begin(at: 1030)
        writer.turns.begin(at: 1040)
        #expect(calls.value == 3)
    }

    @Test("Of a look and a deadline that meet, one sees the other")
    func noLostCall() async throws {
        let cell = try #require(writer.allocateDeadline())
        try await meet {
            cell.set(5000)
        } after: {
            cell.clear()
        }
    }

    @Test("Of a look and a turn that meet, one sees the other")
    func noLostTurn() async throws {
        let turns = writer.turns
        try await meet {
            turns.begin(at: 5000)
        } after: {
            turns.sleep()
        }
    }

    @Test("Of a look and a failing check that meet, one sees the other")
    func noLostCheck() async throws {
        let writer = writer
        let sign = HealthSign(name: "x", levels: [.live], result: .fail(""), reportedAt: at(5000))
        try await meet {
            writer.setHealth(sign)
        } after: {
            writer.removeHealth("x")
        }
    }

    /// Lets a look and a sign of activity meet at ever different moments, and checks that none is lost.
    private func meet(_ act: @escaping @Sendable () -> Void, after: @escaping @Sendable () -> Void) async throws {
        let rounds = Scale.of(20_000)
        let round = Counter()
        let done = Counter()
        async let worker: Void = onThread {
            for number in 1...rounds {
                Self.meeting(round, number)
                for _ in 0..<number & 31 { _ = round.value }
                act()
                done.add()
            }
        }
        let lost = try await onThread { [reader, limit, calls] in
            var lost = 0
            for number in 1...rounds {
                let before = calls.value
                round.add()
                for _ in 0..<number >> 5 & 31 { _ = round.value }
                let verdict = reader.watch(limit: limit, now: MonotonicInstant(nanoseconds: 1000))
                Self.meeting(done, number)
                if verdict == .quiet, calls.value == before { lost += 1 }
                after()
            }
            return lost
        }
        try await worker
        #expect(lost == 0)
    }

    /// Waits without giving the processor away at first, so that both threads go on at the same moment.
    private static func meeting(_ counter: Counter, _ number: Int) {
        var patience = 2000
        while counter.value < number {
            patience -= 1
            if patience < 0 { sched_yield() }
        }
    }

    // MARK: The event loop

    @Test("An event loop publishes its turns, and calls when it was asked to")
    func loop() async throws {
        let loop = try EventLoop(name: "published")
        loop.publishTurns(to: writer.turns)
        let entered = Gate()
        let gate = Gate()
        let ended = Latch()
        #expect(reader.watch(limit: .seconds(1), now: .now) == .quiet)
        loop.startThread(name: "published", whenDone: { ended.countDown() })
        loop.submit {
            entered.open()
            gate.pass()
        }
        try await onThread { entered.pass() }
        let now = MonotonicInstant.now
        let start = try #require(reader.lastTurn)
        #expect(start <= now)
        #expect(reader.busyTime(at: now) == start.duration(to: now))
        #expect(calls.value == 1)
        #expect(
            reader.watch(limit: .seconds(1), now: start.advanced(by: .seconds(2)))
                == .hung(Hang(cause: .turn, since: start)))
        gate.open()
        let reader = reader
        try await until { reader.busyTime(at: .now) == .zero }
        #expect(reader.turns == loop.turnCount)
        // Leaving is no turn that never ends.
        loop.stop()
        await ended.wait()
        #expect(reader.busyTime(at: .now) == .zero)
        loop.publishTurns(to: nil)
    }

    // MARK: Health table

    @Test("Checks arrive whole, and texts are cut between characters")
    func table() {
        let long = HealthSign(
            name: String(repeating: "ä", count: 40), levels: [.startup],
            result: .warn(String(repeating: "€", count: 100)),
            reportedAt: at(5), maximumAge: .seconds(3))
        writer.setHealth(long)
        writer.setHealth(HealthSign(name: "b", levels: [.ready], result: .pass, reportedAt: at(6)))
        let signs = reader.health
        #expect(signs.map(\.name) == [String(repeating: "ä", count: 31), "b"])
        #expect(signs.first?.result == .warn(String(repeating: "€", count: 66)))
        #expect(signs.first?.levels == [.startup])
        #expect(signs.first?.reportedAt == at(5))
        #expect(signs.first?.maximumAge == .seconds(3))
        writer.removeHealth(long.name)
        writer.removeHealth("never there")
        #expect(reader.health.map(\.name) == ["b"])
    }

    @Test("A table that is full refuses, and has room again when a check is forgotten")
    func fullTable() {
        for number in 0..<32 {
            #expect(writer.setHealth(HealthSign(name: "c\(number)", levels: [.live], result: .pass, reportedAt: at(1))))
        }
        let more = HealthSign(name: "more", levels: [.live], result: .pass, reportedAt: at(1))
        #expect(!writer.setHealth(more))
        #expect(writer.setHealth(HealthSign(name: "c7", levels: [.live], result: .fail(""), reportedAt: at(2))))
        writer.removeHealth("c7")
        #expect(writer.setHealth(more))
        #expect(reader.health.count == 32)
    }

    @Test("A check has a result for each set of levels, and its next results take the place of all of them")
    func severalResults() {
        let warning = HealthSign(name: "db", levels: [.live], result: .warn("none"), reportedAt: at(1))
        let failure = HealthSign(name: "db", levels: [.ready], result: .fail("none"), reportedAt: at(1))
        #expect(writer.setHealth([warning, failure], of: "db"))
        #expect(reader.health.map(\.levels) == [[.live], [.ready]])
        let report = HealthSign(name: "db", levels: [.live, .ready], result: .pass, reportedAt: at(2))
        #expect(writer.setHealth([report], of: "db"))
        #expect(reader.health == [report])
        #expect(writer.setHealth([], of: "db"))
        #expect(reader.health.isEmpty)
    }

    @Test("A check is never read half old and half new")
    func tearing() async throws {
        let isOver = Flag()
        let writer = writer
        async let writing: Void = onThread {
            var number = 0
            while !isOver.value {
                number += 1
                let digit = String(number % 10)
                writer.setHealth(
                    HealthSign(
                        name: "x", levels: [.ready], result: .warn(String(repeating: digit, count: 1 + number % 190)),
                        reportedAt: MonotonicInstant(nanoseconds: Int64(number))))
            }
        }
        let wrong = try await onThread { [reader] in
            var wrong = 0
            for _ in 0..<Scale.of(20_000) {
                guard let sign = reader.health.first else { continue }
                let number = Int(sign.reportedAt.nanoseconds)
                let digits = String(repeating: String(number % 10), count: 1 + number % 190)
                if sign.result != .warn(digits) { wrong += 1 }
            }
            isOver.value = true
            return wrong
        }
        try await writing
        #expect(wrong == 0)
    }

    // MARK: Distrust

    @Test("Whatever is in the file, a look ends")
    func fuzz() throws {
        let memory = try #require(
            mmap(nil, 65_536, PROT_READ | PROT_WRITE, MAP_SHARED, reader.descriptor.rawValue, 0))
        defer { munmap(memory, 65_536) }
        let words = memory.assumingMemoryBound(to: UInt64.self)
        var generator = SplitMix64(seed: 11)
        let extremes: [UInt64] = [0, 1, 2, .max, .max - 1, 1 << 63, (1 << 63) - 1, 0xFFFF_FFFF, 0x0101_0101_0101_0101]
        for round in 0..<Scale.of(500) {
            let count = round % 10 == 0 ? 8192 : 200
            for _ in 0..<count {
                let index =
                    Bool.random(using: &generator)
                    ? Int.random(in: 0..<8192, using: &generator) : Int.random(in: 0..<1400, using: &generator)
                words[index] =
                    Bool.random(using: &generator)
                    ? generator.next() : extremes[Int.random(in: 0..<extremes.count, using: &generator)]
            }
            for now in [Int64.min, -1, 0, 1, 1 << 40, Int64.max] {
                if case .nextLook(let instant) = watch(now) {
                    for grid in [Int64.min, 0, 1, 500_000_000, Int64.max / 20, Int64.max] {
                        #expect(instant.roundedUp(toMultipleOf: grid) >= instant)
                    }
                }
                _ = reader.lastProgress(at: at(now), stoppedSince: at(now))
                _ = watch(now, settling: true)
                _ = reader.watch(limit: .seconds(Int64.max), now: at(now))
                _ = reader.busyTime(at: at(now))
            }
            for sign in reader.health {
                #expect(sign.name.utf8.count <= 63 * 3)
                #expect((sign.result.reason ?? "").utf8.count <= 200 * 3)
            }
            _ = (reader.turns, reader.lastTurn)
        }
    }

    @Test("The worker refuses a file that the supervisor has not made")
    func foreign() throws {
        func refusal(of descriptor: Int32) -> VitalSignsError? {
            #expect(throws: VitalSignsError.self) { try VitalSignsWriter(descriptor: descriptor) { true } }
        }
        let empty = OwnedDescriptor(cmuster_memory_file_create("x", Int64(VitalSignsLayout.size)))
        let small = OwnedDescriptor(cmuster_memory_file_create("x", 4096))
        let pipe = try Pipe()
        #expect(refusal(of: empty.rawValue) == .foreign)
        #expect(refusal(of: small.rawValue) == .wrongSize(4096))
        #expect(refusal(of: pipe.writing) == .notSealed)
        #expect(refusal(of: -1) == .system(SystemError("fstat", code: EBADF)))
    }
}

/// A truth that any thread may change.
final class Flag: Sendable {
    private let state = Locked(false)

    var value: Bool {
        get { state.withLock { $0 } }
        set { state.withLock { $0 = newValue } }
    }
}

extension VitalSignsWriter {
    /// Shows the only result of a check.
    @discardableResult
    fileprivate func setHealth(_ sign: HealthSign) -> Bool { setHealth([sign], of: sign.name) }

    fileprivate func removeHealth(_ name: String) { setHealth([], of: name) }
}
