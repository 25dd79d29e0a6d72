// SPDX-License-Identifier: Apache-2.0

import CMuster
import MusterHealth
import MusterLock
package import MusterPlatform
import Synchronization

/// The worker's side of its vital signs: what its supervisor judges by whether it hangs.
package final class VitalSignsWriter: Sendable {
    private struct State {
        var freeDeadlines: [Int] = []
        var usedDeadlines = 0
        /// The entries of each check.
        var health: [String: [(index: Int, sign: HealthSign)]] = [:]
        var freeEntries = Array((0..<VitalSignsLayout.healthEntries).reversed())
    }

    private let mapping: VitalSignsMapping
    private let state = Locked(State())
    private let notify: @Sendable () -> Bool
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
        self.notify = notify
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

    /// Lets the supervisor hear of the process' end when it begins. To be called once, on a thread that lives as long as the
    /// process.
    ///
    /// - Returns: Whether it will.
    @discardableResult
    package func holdBell() -> Bool {
        cmuster_bell_hold(mapping.base + VitalSignsLayout.Offset.bell) == 0
    }

    /// Lets the supervisor look at this process' threads.
    package func allowInspection() throws(SystemError) {
        let code = cmuster_inspection_install(mapping.inspection)
        if code != 0 { throw SystemError("sigaction(SIGPROF)", code: code) }
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

    /// Publishes the turns of a further thread, in a deadline cell; `nil` when all are in use.
    package func makeTurnPublisher() -> TurnPublisher? {
        allocateDeadline().map { cell in
            TurnPublisher(
                turnStart: mapping.deadline(cell.index), isNegated: true,
                attention: mapping.instant(at: VitalSignsLayout.Offset.attention),
                limit: mapping.instant(at: VitalSignsLayout.Offset.limit), owner: cell, notify: notify)
        }
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

    /// Shows a check's results, in place of those that it had. Never is there a moment without any.
    ///
    /// - Parameters:
    ///   - signs: The results, with different levels each; none removes the check. Texts that are too long are cut off.
    ///   - name: The check's name.
    /// - Returns: `false` when there are more results than the table has entries.
    @discardableResult
    package func setHealth(_ signs: [HealthSign], of name: String) -> Bool {
        let (shown, fit) = state.withLock { state in
            var previous = state.health.removeValue(forKey: name) ?? []
            var shown: [(index: Int, sign: HealthSign)] = []
            for var sign in signs {
                let place = previous.firstIndex { $0.sign.levels == sign.levels }
                let before = place.map { previous.remove(at: $0) }
                guard let index = before?.index ?? state.freeEntries.popLast() else { continue }
                sign.since = sign.reportedAt
                if let before = before?.sign, before.resultCode == sign.resultCode { sign.since = before.since }
                write(sign, to: index)
                shown.append((index, sign))
            }
            for (index, _) in previous {
                write(nil, to: index)
                state.freeEntries.append(index)
            }
            if !shown.isEmpty { state.health[name] = shown }
            return (shown, shown.count == signs.count)
        }
        let limit = mapping.instant(at: VitalSignsLayout.Offset.limit).pointee.load(ordering: .relaxed)
        for (_, sign) in shown where sign.levels.contains(.live) {
            guard let failsFrom = sign.failsFrom else { continue }
            callAttention(before: failsFrom.advanced(by: .nanoseconds(limit)).nanoseconds)
        }
        return fit
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
        let reason = (sign.result.reason ?? "").utf8Prefix(VitalSignsLayout.longestReason)
        let flags =
            1 | sign.levelBits << 8 | sign.resultCode << 16 | UInt64(name.count) << 24 | UInt64(reason.count) << 32
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
