// SPDX-License-Identifier: Apache-2.0

import CMuster
import Instrumentation
import Logging
import MusterLock
import MusterPlatform
public import Synchronization

/// A total of whole things that only rises. An update is one atomic add.
public struct CounterMetric: Sendable {
    // The memory behind the pointer lives as long as `storage` and is touched by atomics only.
    @usableFromInline nonisolated(unsafe) let cell: UnsafeMutablePointer<Atomic<UInt64>>
    @usableFromInline let storage: MetricStorage

    init(cell: UnsafeMutablePointer<Atomic<UInt64>>, storage: MetricStorage) {
        self.cell = cell
        self.storage = storage
    }

    /// Adds one.
    @inlinable
    @inline(__always)
    public func increment() {
        cell.pointee.wrappingAdd(1, ordering: .relaxed)
    }

    /// Adds a number of things.
    ///
    /// - Parameter amount: How many; a negative number is ignored, counted and logged once.
    @inlinable
    @inline(__always)
    public func increment(by amount: Int) {
        guard amount >= 0 else {
            storage.refuseUpdate(of: cell, because: "a counter cannot fall")
            return
        }
        cell.pointee.wrappingAdd(UInt64(truncatingIfNeeded: amount), ordering: .relaxed)
    }

    /// Whether two handles are of one series.
    package func isSame(as other: CounterMetric) -> Bool { cell == other.cell }

    /// The total, including those of earlier generations of the process.
    package var value: UInt64 {
        cell.pointee.load(ordering: .relaxed)
    }

    /// Starts again from 0, which Prometheus takes for a restart.
    func reset() {
        cell.pointee.store(0, ordering: .relaxed)
    }
}

/// A total of a quantity, such as seconds, that only rises.
package struct FloatingPointCounterMetric: Sendable {
    // The memory behind the pointer lives as long as `storage` and is touched by atomics only.
    @usableFromInline nonisolated(unsafe) let cell: UnsafeMutablePointer<Atomic<UInt64>>
    @usableFromInline let storage: MetricStorage

    init(cell: UnsafeMutablePointer<Atomic<UInt64>>, storage: MetricStorage) {
        self.cell = cell
        self.storage = storage
    }

    /// Adds an amount.
    ///
    /// - Parameter amount: How much, in the metric's unit; what is negative or no finite number is ignored, counted
    ///   and logged once.
    @inlinable
    @inline(__always)
    package func increment(by amount: Double) {
        guard amount >= 0, amount.isFinite else {
            storage.refuseUpdate(of: cell, because: "a counter rises by finite amounts only")
            return
        }
        cell.addDouble(amount)
    }

    /// The total, including those of earlier generations of the process.
    package var value: Double {
        Double(bitPattern: cell.pointee.load(ordering: .relaxed))
    }

    /// Starts again from 0, which Prometheus takes for a restart.
    func reset() {
        cell.pointee.store(0, ordering: .relaxed)
    }
}

/// A value that goes up and down.
///
/// It is exported from the first time this process sets it until it is cleared or a later process attaches to the
/// arena, so that a dead process' value is never shown.
public struct GaugeMetric: Sendable {
    // Two cells: the value's bits, and the epoch in which it was set (0: not set). The memory behind the pointer
    // lives as long as `storage` and is touched by atomics only.
    @usableFromInline nonisolated(unsafe) let cells: UnsafeMutablePointer<Atomic<UInt64>>
    @usableFromInline let storage: MetricStorage

    init(cells: UnsafeMutablePointer<Atomic<UInt64>>, storage: MetricStorage) {
        self.cells = cells
        self.storage = storage
    }

    /// Sets the value.
    ///
    /// - Parameter value: The value in the metric's unit; infinities and NaN are exported as they are.
    @inlinable
    @inline(__always)
    public func set(_ value: Double) {
        guard storage.isCurrent else { return }
        cells.pointee.store(value.bitPattern, ordering: .relaxed)
        (cells + 1).pointee.store(storage.epoch, ordering: .releasing)
    }

    /// Changes the value; one that is not set counts from 0.
    ///
    /// - Parameter amount: By how much; what is no finite number is ignored, counted and logged once.
    @inlinable
    @inline(__always)
    public func add(_ amount: Double) {
        guard amount.isFinite else {
            storage.refuseUpdate(of: cells, because: "a gauge changes by finite amounts only")
            return
        }
        guard storage.isCurrent else { return }
        cells.addDouble(amount)
        (cells + 1).pointee.store(storage.epoch, ordering: .releasing)
    }

    /// Adds 1.
    @inlinable
    public func increment() {
        add(1)
    }

    /// Subtracts 1.
    @inlinable
    public func decrement() {
        add(-1)
    }

    /// Takes the series out of the exposition until it is set again.
    public func clear() {
        guard storage.isCurrent else { return }
        (cells + 1).pointee.store(0, ordering: .relaxed)
        cells.pointee.store(0, ordering: .releasing)
    }

    /// The value; `nil` when it is not set.
    package var value: Double? {
        guard storage.isCurrent, (cells + 1).pointee.load(ordering: .acquiring) == storage.epoch else { return nil }
        return Double(bitPattern: cells.pointee.load(ordering: .relaxed))
    }
}

/// A distribution over buckets.
///
/// An observation is a search among the bounds, an atomic addition, and one to the sum. One that is no finite number is ignored,
/// counted in `muster_metrics_dropped_updates_total` and logged once: it would spoil the sum for good.
public struct HistogramMetric: Sendable {
    // The sum's bits, then one count for each bucket, the one up to +Inf last. The memory behind the pointer lives
    // as long as `storage` and is touched by atomics only.
    @usableFromInline nonisolated(unsafe) let cells: UnsafeMutablePointer<Atomic<UInt64>>
    @usableFromInline let layout: BucketLayout
    @usableFromInline let storage: MetricStorage

    init(cells: UnsafeMutablePointer<Atomic<UInt64>>, layout: BucketLayout, storage: MetricStorage) {
        self.cells = cells
        self.layout = layout
        self.storage = storage
    }

    /// Records a value.
    @inlinable
    @inline(__always)
    public func observe(_ value: Double) {
        guard value.isFinite else {
            storage.refuseUpdate(of: cells, because: "an observation must be a finite number")
            return
        }
        let bucket = layout.bucket(of: value)
        (cells + (1 &+ bucket)).pointee.wrappingAdd(1, ordering: .relaxed)
        cells.addDouble(value)
        if storage.samplesExemplars.load(ordering: .relaxed) {
            storage.sampleExemplar(value, of: cells, in: layout, bucket: bucket)
        }
    }

    /// Records a duration.
    ///
    /// - Parameter duration: The duration; recorded in seconds.
    @inlinable
    @inline(__always)
    public func observe(_ duration: Duration) {
        let attoseconds = duration.attoseconds
        // Splitting into seconds and their fraction would divide 128-bit numbers, at thrice the cost of the rest.
        let high = Int64(truncatingIfNeeded: attoseconds >> 64)
        let low = UInt64(truncatingIfNeeded: attoseconds)
        observe((Double(high) * 0x1p64 + Double(low)) / 1e18)
    }

    /// What was observed so far, including by earlier generations of the process.
    ///
    /// Observations made during the call may be missing from one of its parts.
    package func snapshot() -> HistogramSnapshot {
        let sum = Double(bitPattern: cells.pointee.load(ordering: .relaxed))
        let counts = (0...layout.count).map { (cells + (1 + $0)).pointee.load(ordering: .relaxed) }
        return HistogramSnapshot(
            count: counts.reduce(0, &+), sum: sum, bounds: layout.bounds, bucketCounts: counts)
    }
}

/// Metrics of one name, told apart by the values of their labels.
public struct MetricFamily<Metric: Sendable>: Sendable {
    private let resolver: SeriesResolver
    private let make: MetricMaker<Metric>

    init(_ resolver: SeriesResolver, _ make: @escaping MetricMaker<Metric>) {
        self.resolver = resolver
        self.make = make
    }

    /// The series of these label values, made on its first use.
    ///
    /// Keep the result where updates are frequent: finding it takes a lock. It never fails: a wrong number of
    /// values, a series beyond the family's limit and a full arena are logged once and counted, and the result then
    /// leads nowhere.
    ///
    /// - Parameter values: One value for each label, in the order of the names given at registration.
    public func labels(_ values: String...) -> Metric {
        labels(values)
    }

    /// The series of these label values, made on its first use.
    package func labels(_ values: [String]) -> Metric {
        make(resolver.cells(values), resolver.storage)
    }
}

/// Makes the handle of a series from its cells.
typealias MetricMaker<Metric> = @Sendable (UnsafeMutablePointer<Atomic<UInt64>>, MetricStorage) -> Metric

/// Counters of one name.
package typealias CounterFamily = MetricFamily<CounterMetric>
/// Gauges of one name.
package typealias GaugeFamily = MetricFamily<GaugeMetric>
/// Histograms of one name.
package typealias HistogramFamily = MetricFamily<HistogramMetric>

/// What all handles of one registry share: it keeps the arena mapped, and it counts and logs refused updates.
@usableFromInline
final class MetricStorage: Sendable {
    let arena: ArenaWriter
    let logger: Logger
    /// Cells for handles whose series was refused, large enough for every kind of series; made for the first of them.
    private let scratch = Locked<ArenaMapping?>(nil)
    private let complaints = Locked<Set<String>>([])

    /// Where the arena holds its present epoch. The memory behind the pointer lives as long as `arena`.
    @usableFromInline nonisolated(unsafe) let epochCell: UnsafeMutablePointer<Atomic<UInt64>>
    @usableFromInline let epoch: UInt64
    /// Whether observations may be part of a trace.
    @usableFromInline let samplesExemplars = Atomic<Bool>(false)

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
        scratch.withLock { scratch in
            let cells = scratch ?? ArenaMapping(privateBytes: ArenaLayout.maximumCells * 8)
            scratch = cells
            return cells.cell(at: 0)
        }
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
            "metric update ignored: \(reason)", metadata: ["metric": "\(arena.familyName(at: offset) ?? "(refused)")"])
    }

    /// Keeps an observation made in a recorded span as its bucket's exemplar, unless that has one of the last second.
    @usableFromInline
    @inline(never)
    func sampleExemplar(
        _ value: Double, of cells: UnsafeMutablePointer<Atomic<UInt64>>, in layout: BucketLayout, bucket: Int
    ) {
        guard let context = ServiceContext.current, let exemplars = arena.exemplars else { return }
        let end = layout.classicEnds.first { Int($0) >= bucket } ?? 0
        let key = UnsafeRawPointer(cells) - UnsafeRawPointer(arena.mapping.base) + 8 * (1 + Int(end))
        // Those of a refused series are elsewhere.
        guard (0..<arena.mapping.size).contains(key) else { return }
        let time = UInt64(max(0, cmuster_realtime_ns())) / 1_000_000
        guard exemplars.isDue(key, at: time) else { return }
        guard let reference = TraceReference(context, of: InstrumentationSystem.instrument) else {
            return exemplars.recordMiss(of: key, at: time)
        }
        exemplars.write(Exemplar(reference: reference, value: value, time: time), for: key)
    }

    private func complain(about metric: String, _ reason: String) {
        guard isNews("\(metric) \(reason)") else { return }
        logger.warning("metric series refused: \(reason)", metadata: ["metric": "\(metric)"])
    }

    /// Whether a complaint has not been logged yet. After a thousand complaints none is: names may come from outside,
    /// and neither the log nor this set may grow with them.
    private func isNews(_ complaint: String) -> Bool {
        complaints.withLock { $0.count < 1000 && $0.insert(complaint).inserted }
    }
}

extension UnsafeMutablePointer where Pointee == Atomic<UInt64> {
    /// Adds to the double whose bits the cell holds.
    @inlinable
    @inline(__always)
    func addDouble(_ amount: Double) {
        var old = pointee.load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (exchanged, original) = pointee.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
            if exchanged { return }
            old = original
        }
    }
}
