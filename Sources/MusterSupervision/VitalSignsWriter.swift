// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform
import Synchronization

/// The worker's side of its vital signs: what its supervisor judges by whether it hangs.
package final class VitalSignsWriter: Sendable {
    private struct State {
        var freeDeadlines: [Int] = []
        var usedDeadlines = 0
        var health: [String: (index: Int, sign: HealthSign)] = [:]
        var freeEntries = Array((0..<VitalSignsLayout.healthEntries).reversed())
    }

    private let mapping: VitalSignsMapping
    private let state = Locked(State())
    /// For the worker's main loop: `EventLoop.publishTurns(to:)`.
    package let turns: TurnPublisher

    /// Maps the file that the supervisor has made.
    ///
    /// - Parameters:
    ///   - descriptor: The file; not needed any more afterwards.
    ///   - notify: Tells the supervisor that something could hang (``ControlMessage/active``), on any thread; must not
    ///     block. `false` when it could not be told.
    package init(descriptor: Int32, notify: @escaping @Sendable () -> Bool) throws(VitalSignsError) {
        mapping = try VitalSignsMapping(descriptor: descriptor)
        guard
            mapping.word(at: VitalSignsLayout.Offset.magic).pointee.load(ordering: .relaxed) == VitalSignsLayout.magic,
            mapping.word(at: VitalSignsLayout.Offset.version).pointee.load(ordering: .relaxed)
                == VitalSignsLayout.version
        else { throw .foreign }
        turns = TurnPublisher(
            turnStart: mapping.instant(at: VitalSignsLayout.Offset.turnStart),
            lastTurn: mapping.instant(at: VitalSignsLayout.Offset.lastTurn),
            turns: mapping.word(at: VitalSignsLayout.Offset.turns),
            attention: mapping.instant(at: VitalSignsLayout.Offset.attention),
            limit: mapping.instant(at: VitalSignsLayout.Offset.limit), owner: mapping, notify: notify)
    }

    // MARK: Deadlines

    /// Takes a free deadline cell; `nil` when all are in use.
    package func allocateDeadline() -> DeadlineCell? {
        let index = state.withLock { state -> Int? in
            if let index = state.freeDeadlines.popLast() { return index }
            guard state.usedDeadlines < VitalSignsLayout.deadlines else { return nil }
            state.usedDeadlines += 1
            // Never falls, and rises before the cell is set, so the reader misses no cell that is in use.
            mapping.instant(at: VitalSignsLayout.Offset.deadlineCount).pointee.store(
                Int64(state.usedDeadlines), ordering: .sequentiallyConsistent)
            return state.usedDeadlines - 1
        }
        return index.map { DeadlineCell(self, index: $0) }
    }

    func free(_ index: Int) {
        clearDeadline(index)
        state.withLock { $0.freeDeadlines.append(index) }
    }

    @inline(__always)
    func setDeadline(_ index: Int, _ nanoseconds: Int64) {
        mapping.deadline(index).pointee.store(nanoseconds, ordering: .sequentiallyConsistent)
        callAttention(before: nanoseconds)
    }

    @inline(__always)
    func clearDeadline(_ index: Int) {
        mapping.deadline(index).pointee.store(0, ordering: .relaxed)
    }

    @inline(__always)
    private func callAttention(before instant: Int64) {
        let nextLook = mapping.instant(at: VitalSignsLayout.Offset.attention).pointee.load(
            ordering: .sequentiallyConsistent)
        if nextLook != 0 { turns.wake(for: instant, before: nextLook) }
    }

    // MARK: Health

    /// Tells a check's result, in place of the one that it had.
    ///
    /// - Parameter sign: The result; texts that are too long are cut off.
    /// - Returns: `false` when there are more checks than the table has entries.
    @discardableResult
    package func setHealth(_ sign: HealthSign) -> Bool {
        var sign = sign
        let isKnown = state.withLock { state -> Bool in
            let previous = state.health[sign.name]
            guard let index = previous?.index ?? state.freeEntries.popLast() else { return false }
            sign.since = sign.reportedAt
            if let previous = previous?.sign, previous.status == sign.status { sign.since = previous.since }
            state.health[sign.name] = (index, sign)
            write(sign, to: index)
            return true
        }
        guard isKnown else { return false }
        if sign.levels.contains(.live), let failsFrom = sign.failsFrom {
            let limit = mapping.instant(at: VitalSignsLayout.Offset.limit).pointee.load(ordering: .relaxed)
            callAttention(before: failsFrom.advanced(by: .nanoseconds(limit)).nanoseconds)
        }
        return true
    }

    /// Forgets a check.
    package func removeHealth(_ name: String) {
        state.withLock { state in
            guard let index = state.health.removeValue(forKey: name)?.index else { return }
            write(nil, to: index)
            state.freeEntries.append(index)
        }
    }

    /// To be called under the lock: one writes at a time.
    private func write(_ sign: HealthSign?, to index: Int) {
        typealias Word = VitalSignsLayout.HealthWord
        let sequence = mapping.health(index, Word.sequence)
        let before = sequence.pointee.load(ordering: .relaxed)
        sequence.pointee.store(before | 1, ordering: .relaxed)
        atomicMemoryFence(ordering: .releasing)
        defer {
            // Sequentially consistent because of what ``callAttention(before:)`` loads next.
            sequence.pointee.store((before | 1) &+ 1, ordering: .sequentiallyConsistent)
        }
        guard let sign else {
            mapping.health(index, Word.flags).pointee.store(0, ordering: .relaxed)
            return
        }
        let name = sign.name.utf8Prefix(VitalSignsLayout.longestName)
        let reason = sign.reason.utf8Prefix(VitalSignsLayout.longestReason)
        let flags =
            1 | UInt64(sign.levels.rawValue) << 8 | UInt64(sign.status.rawValue) << 16 | UInt64(name.count) << 24
            | UInt64(reason.count) << 32
        put(UInt64(bitPattern: sign.reportedAt.nanoseconds), index, Word.reportedAt)
        put(UInt64(bitPattern: sign.since.nanoseconds), index, Word.since)
        put(UInt64(bitPattern: sign.maximumAge.clampedNanoseconds), index, Word.maximumAge)
        put(flags, index, Word.flags)
        put(name, index, Word.name)
        put(reason, index, Word.reason)
    }

    private func put(_ word: UInt64, _ index: Int, _ position: Int) {
        mapping.health(index, position).pointee.store(word, ordering: .relaxed)
    }

    private func put(_ text: [UInt8], _ index: Int, _ position: Int) {
        for start in stride(from: 0, to: text.count, by: 8) {
            var word: UInt64 = 0
            for (shift, byte) in text[start..<min(start + 8, text.count)].enumerated() {
                word |= UInt64(byte) << (8 * shift)
            }
            put(word, index, position + start / 8)
        }
    }
}
