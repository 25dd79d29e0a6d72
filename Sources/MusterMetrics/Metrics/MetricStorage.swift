// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterPlatform
public import Synchronization

/// What all handles of one registry share: it keeps the arena mapped, and it knows what to say about updates that
/// are refused.
@usableFromInline
final class MetricStorage: Sendable {
    let arena: ArenaWriter
    let logger: Logger
    /// Cells for handles whose series was refused; large enough for every kind of series.
    private let scratch = ArenaMapping(privateBytes: (ArenaLayout.maximumBuckets + 2) * 8)
    private let complaints = Locked<Set<String>>([])

    /// Where the arena holds its present epoch. The memory behind the pointer lives as long as `arena`.
    @usableFromInline nonisolated(unsafe) let epochCell: UnsafeMutablePointer<Atomic<UInt64>>
    @usableFromInline let epoch: UInt64

    init(arena: ArenaWriter, logger: Logger) {
        self.arena = arena
        self.logger = logger
        epochCell = arena.mapping.cell(at: ArenaLayout.Offset.epoch)
        epoch = arena.epoch
    }

    /// Whether no later generation has taken the arena over: only the latest one's gauges count.
    @inlinable
    var isCurrent: Bool {
        epochCell.pointee.load(ordering: .relaxed) == epoch
    }

    func cells(at offset: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        arena.mapping.cell(at: offset)
    }

    func scratchCells() -> UnsafeMutablePointer<Atomic<UInt64>> {
        scratch.cell(at: 0)
    }

    /// Counts a series that was refused and logs the first refusal of its kind.
    func refuseSeries(of metric: String, because reason: String) {
        arena.countDroppedSeries()
        complain(about: metric, reason)
    }

    /// Counts an update that was refused and logs the first one of its series.
    @usableFromInline
    @inline(never)
    func refuseUpdate(of cells: UnsafeMutablePointer<Atomic<UInt64>>, because reason: StaticString) {
        arena.countDroppedUpdate()
        let offset = UnsafeRawPointer(cells) - UnsafeRawPointer(arena.mapping.base)
        guard isNews("\(offset) \(reason)") else { return }
        logger.warning(
            "an update was ignored: \(reason)", metadata: ["metric": "\(arena.familyName(at: offset) ?? "(refused)")"])
    }

    private func complain(about metric: String, _ reason: String) {
        guard isNews("\(metric) \(reason)") else { return }
        logger.warning("a series was refused: \(reason)", metadata: ["metric": "\(metric)"])
    }

    /// Whether something has not been said yet. After a thousand complaints there is silence: names may come from
    /// outside, and neither the log nor the memory of it must grow with them.
    private func isNews(_ complaint: String) -> Bool {
        complaints.withLock { $0.count < 1000 && $0.insert(complaint).inserted }
    }
}
