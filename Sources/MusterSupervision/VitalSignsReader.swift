// SPDX-License-Identifier: Apache-2.0

import CMuster
import MusterHealth
package import MusterPlatform
import Synchronization

/// The supervisor's side of a worker's vital signs. It takes the file for what it is, memory that a broken worker may
/// have filled with anything: whatever is in it, a look ends soon and without a trap.
///
/// The worker is not looked at again and again. Each look says when to look next, and asks the worker to wake the
/// supervisor (``ControlMessage/active``) when something could hang before that; an idle worker costs nothing.
///
/// 1. When a worker is ready, call ``watch(limit:now:settling:)`` and set a timer to the instant that it returns, if any.
/// 2. At the timer, call it again.
/// 3. At `active`, call it with `settling` and set the timer anew: a worker that is busy with many short turns is then
///    looked at once per limit instead of at each turn.
package final class VitalSignsReader: Sendable {
    /// The file, to be handed to the worker.
    package let descriptor: OwnedDescriptor
    private let mapping: VitalSignsMapping
    /// Through which the worker's threads are looked at.
    package let inspection: InspectionArea

    /// Creates a worker's vital signs.
    ///
    /// - Parameter name: What the file is called in `/proc/PID/fd`.
    package static func create(name: String) throws(VitalSignsError) -> VitalSignsReader {
        let number = cmuster_memory_file_create(name, Int64(VitalSignsLayout.size))
        guard number >= 0 else { throw .system(SystemError("memfd_create")) }
        return try VitalSignsReader(descriptor: OwnedDescriptor(number))
    }

    private init(descriptor: OwnedDescriptor) throws(VitalSignsError) {
        self.descriptor = descriptor
        mapping = try VitalSignsMapping(descriptor: descriptor.rawValue)
        inspection = InspectionArea(mapping.inspection, owner: mapping)
        mapping.word(at: VitalSignsLayout.Offset.version).pointee.store(VitalSignsLayout.version, ordering: .relaxed)
        mapping.word(at: VitalSignsLayout.Offset.magic).pointee.store(VitalSignsLayout.magic, ordering: .releasing)
    }

    /// Where the worker's end rings: ``Bells``. The memory is mapped for as long as the reader lives.
    var bell: UnsafeMutableRawPointer { mapping.base + VitalSignsLayout.Offset.bell }

    // MARK: Judging

    /// Looks, and asks the worker to tell when something could hang before the next look.
    ///
    /// - Parameters:
    ///   - limit: How long a turn may take, and for how long a check of the live level may fail; zero judges nothing.
    ///     Deadlines are the worker's own and count as they are.
    ///   - now: The present instant.
    ///   - settling: Whether the worker has just woken us, so that the next look may wait for up to a limit even if
    ///     nothing could hang now.
    /// - Returns: Whether it hangs, or when to look next. After `hung` the worker has not been asked anything.
    package func watch(limit: Duration, now: MonotonicInstant, settling: Bool = false) -> VitalVerdict {
        guard limit > .zero else { return .quiet }
        mapping.instant(at: VitalSignsLayout.Offset.limit).pointee.store(limit.clampedNanoseconds, ordering: .relaxed)
        var next = settling ? now.advanced(by: limit) : .distantFuture
        switch firstHang(limit: limit, now: now) {
        case .hung(let hang): return .hung(hang)
        case .nextLook(let instant): next = min(next, instant)
        case .quiet: break
        }
        ask(before: next)
        // What began before the worker could see the request is seen now.
        switch firstHang(limit: limit, now: now) {
        case .hung(let hang): return .hung(hang)
        case .nextLook(let instant) where instant < next:
            next = instant
            ask(before: next)
        case .nextLook, .quiet: break
        }
        return next == .distantFuture ? .quiet : .nextLook(at: next)
    }

    private func ask(before next: MonotonicInstant) {
        mapping.instant(at: VitalSignsLayout.Offset.attention).pointee.store(
            max(1, next.nanoseconds), ordering: .sequentiallyConsistent)
    }

    /// Looks, and asks nothing of the worker.
    ///
    /// - Parameters:
    ///   - limit: How long a turn may take, and for how long a check of the live level may fail.
    ///   - now: The present instant.
    package func firstHang(limit: Duration, now: MonotonicInstant) -> VitalVerdict {
        var next = MonotonicInstant.distantFuture
        let turnStart = instant(VitalSignsLayout.Offset.turnStart)
        if turnStart != 0 {
            // No turn begins in the future, whatever the cell says.
            let start = min(MonotonicInstant(nanoseconds: turnStart), now)
            let end = start.advanced(by: limit)
            if end <= now { return .hung(Hang(cause: .turn, since: start)) }
            next = min(next, end)
        }
        for index in 0..<deadlineCount {
            let nanoseconds = mapping.deadline(index).pointee.load(ordering: .sequentiallyConsistent)
            guard nanoseconds != 0 else { continue }
            if nanoseconds < 0 {
                let start = min(MonotonicInstant(nanoseconds: Int64(clamping: nanoseconds.magnitude)), now)
                let end = start.advanced(by: limit)
                if end <= now { return .hung(Hang(cause: .thread(cell: index), since: start)) }
                next = min(next, end)
                continue
            }
            let deadline = MonotonicInstant(nanoseconds: nanoseconds)
            if deadline <= now { return .hung(Hang(cause: .deadline(cell: index), since: deadline)) }
            next = min(next, deadline)
        }
        for index in 0..<VitalSignsLayout.healthEntries {
            guard let sign = healthSign(index), sign.levels.contains(.live), let failsFrom = sign.failsFrom else {
                continue
            }
            let end = failsFrom.advanced(by: limit)
            if end <= now { return .hung(Hang(cause: .health(name: sign.name), since: failsFrom)) }
            next = min(next, end)
        }
        return next == .distantFuture ? .quiet : .nextLook(at: next)
    }

    // MARK: Reading

    /// For how long the present turn of the main loop has lasted; zero while it sleeps.
    package func busyTime(at now: MonotonicInstant) -> Duration {
        let start = instant(VitalSignsLayout.Offset.turnStart)
        return start == 0 ? .zero : max(.zero, MonotonicInstant(nanoseconds: start).duration(to: now))
    }

    /// When the main loop's latest turn began; `nil` before the first.
    package var lastTurn: MonotonicInstant? {
        let start = instant(VitalSignsLayout.Offset.lastTurn)
        return start > 0 ? MonotonicInstant(nanoseconds: start) : nil
    }

    /// The latest instant at which the process is known to have made progress: now, unless something is in progress or
    /// overdue.
    ///
    /// - Parameter stoppedSince: When the system suspended the process, if it did.
    package func lastProgress(at now: MonotonicInstant, stoppedSince: MonotonicInstant?) -> MonotonicInstant {
        var latest = min(now, stoppedSince ?? now)
        let start = instant(VitalSignsLayout.Offset.turnStart)
        if start > 0 { latest = min(latest, MonotonicInstant(nanoseconds: start)) }
        if case .hung(let hang) = firstHang(limit: .zero, now: now), hang.since > MonotonicInstant(nanoseconds: 0) {
            latest = min(latest, hang.since)
        }
        return latest
    }

    /// How many turns the main loop has made.
    package var turns: UInt64 {
        mapping.word(at: VitalSignsLayout.Offset.turns).pointee.load(ordering: .relaxed)
    }

    /// The worker's health checks. One that is being written all the while is left out.
    package var health: [HealthSign] {
        (0..<VitalSignsLayout.healthEntries).compactMap { healthSign($0) }
    }

    private func instant(_ offset: Int) -> Int64 {
        mapping.instant(at: offset).pointee.load(ordering: .sequentiallyConsistent)
    }

    private var deadlineCount: Int {
        Int(clamping: min(max(0, instant(VitalSignsLayout.Offset.deadlineCount)), Int64(VitalSignsLayout.deadlines)))
    }

    private func healthSign(_ index: Int) -> HealthSign? {
        typealias Word = VitalSignsLayout.HealthWord
        return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: Word.count) { words -> HealthSign? in
            for _ in 0..<64 {
                let sequence = mapping.health(index, Word.sequence).pointee.load(ordering: .sequentiallyConsistent)
                // Nothing has ever been written here.
                if sequence == 0 { return nil }
                guard sequence & 1 == 0 else { continue }
                for word in 1..<Word.count {
                    words[word] = mapping.health(index, word).pointee.load(ordering: .relaxed)
                }
                atomicMemoryFence(ordering: .acquiring)
                if mapping.health(index, Word.sequence).pointee.load(ordering: .relaxed) == sequence {
                    return Self.decode(UnsafeBufferPointer(words))
                }
            }
            return nil
        }
    }

    private static func decode(_ words: UnsafeBufferPointer<UInt64>) -> HealthSign? {
        typealias Word = VitalSignsLayout.HealthWord
        let flags = words[Word.flags]
        let nameLength = Int(flags >> 24 & 0xFF)
        let reasonLength = Int(flags >> 32 & 0xFF)
        guard flags & 1 == 1, (1...VitalSignsLayout.longestName).contains(nameLength),
            reasonLength <= VitalSignsLayout.longestReason,
            let result = HealthSign.result(
                UInt8(truncatingIfNeeded: flags >> 16), reason: text(words, Word.reason, reasonLength))
        else { return nil }
        var sign = HealthSign(
            name: text(words, Word.name, nameLength), levels: HealthSign.levels(flags >> 8), result: result,
            reportedAt: MonotonicInstant(nanoseconds: Int64(bitPattern: words[Word.reportedAt])),
            maximumAge: .nanoseconds(max(0, Int64(bitPattern: words[Word.maximumAge]))))
        sign.since = MonotonicInstant(nanoseconds: Int64(bitPattern: words[Word.since]))
        return sign
    }

    /// A text of so many bytes; what is not UTF-8 in it is repaired.
    private static func text(_ words: UnsafeBufferPointer<UInt64>, _ first: Int, _ count: Int) -> String {
        String(
            decoding: (0..<count).map { UInt8(truncatingIfNeeded: words[first + $0 / 8] >> (8 * ($0 % 8))) },
            as: UTF8.self)
    }
}

/// The result of an inspection of a worker's vital signs.
package enum VitalVerdict: Hashable, Sendable {
    /// The worker hangs.
    case hung(Hang)
    /// Something could hang, at this instant at the earliest.
    case nextLook(at: MonotonicInstant)
    /// Nothing could hang.
    case quiet
}

/// Why a worker counts as hung.
package struct Hang: Hashable, Sendable, CustomStringConvertible {
    /// What makes no progress.
    package enum Cause: Hashable, Sendable {
        /// A turn of the main loop: something blocks its thread.
        case turn
        /// A turn of a further thread: something blocks the thread of a looping call.
        case thread(cell: Int)
        /// A deadline that has passed: a looping call is overdue by more than its own limit.
        case deadline(cell: Int)
        /// A check of the live level, which fails or has not reported for too long.
        case health(name: String)
    }

    package let cause: Cause
    /// Since when.
    package let since: MonotonicInstant

    package var description: String {
        switch cause {
        case .turn: "main loop blocked"
        case .thread: "thread of a looping call blocked"
        case .deadline: "looping call overdue beyond its stall limit"
        case .health(let name): "health check '\(name)' failing or not reporting"
        }
    }
}
