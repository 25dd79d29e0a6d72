// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import MusterMetrics
import Synchronization

extension Benchmark {
    static func counterUpdates(_ effort: Effort) throws -> [Figure] {
        let counter = try Backends.registry().counter("bench_updates_total", help: "Updates.")
        let fractions = try Backends.registry().floatingPointCounter("bench_fractions_total", help: "Updates.")
        let cell = try SharedCell()
        let count = 200_000
        let times = try Rounds.run(
            effort(201, quick: 51),
            [
                { Self.time(count) { increment(counter, times: count) } },
                { Self.time(count) { increment(fractions, times: count) } },
                { Self.time(count) { addAtomically(to: cell.pointer, times: count) } },
                { Self.time(count) { cmusterbench_atomic_adds(cell.word, count) } },
            ])
        let reference = (name: "atomic add in C", values: times[3])
        return [
            Figure("increment", in: .nanoseconds, times[0], against: reference, limit: .ratioAtMost(1.5)),
            Figure("increment by a fraction", in: .nanoseconds, times[1], against: reference),
            Figure("Swift's Atomic", in: .nanoseconds, times[2], against: reference),
        ]
    }

    static func histogramUpdates(_ effort: Effort) throws -> [Figure] {
        let registry = try Backends.registry()
        let histogram = try registry.histogram("bench_seconds", help: "Values.", unit: .seconds, buckets: .seconds)
        let cell = try SharedCell()
        let count = 200_000
        // Spread evenly over the buckets and beyond, so that no branch can be guessed.
        var random = SplitMix(state: 1)
        let bounds = HistogramBuckets.seconds.bounds
        let values = (0..<1024).map { _ in
            let bucket = Int(random.next() % UInt64(bounds.count + 1))
            return (bucket < bounds.count ? bounds[bucket] : bounds[bucket - 1] * 2) * 0.999
        }
        let durations = values.map { Duration.nanoseconds(Int64($0 * 1e9)) }
        let times = try Rounds.run(
            effort(201, quick: 51),
            [
                { Self.time(count) { observe(histogram, values, times: count) } },
                { Self.time(count) { observe(histogram, durations, times: count) } },
                { Self.time(count) { cmusterbench_atomic_adds(cell.word, count) } },
            ])
        let reference = (name: "atomic add in C", values: times[2])
        return [
            Figure(
                "observation, \(bounds.count + 1) buckets", in: .nanoseconds, times[0], against: reference,
                limit: .ratioAtMost(4)),
            Figure("observation of a Duration", in: .nanoseconds, times[1], against: reference),
        ]
    }

    /// Nanoseconds for one of several equal steps.
    private static func time(_ count: Int, _ work: () -> Void) -> Double {
        let start = cmusterbench_now()
        work()
        return Double(cmusterbench_now() - start) / Double(count)
    }

    // Each loop is a function of its own, as in C, so that nothing is hoisted out of it that a caller has to do.

    @inline(never)
    private static func increment(_ counter: CounterMetric, times: Int) {
        for _ in 0..<times { counter.increment() }
    }

    @inline(never)
    private static func increment(_ counter: FloatingPointCounterMetric, times: Int) {
        for _ in 0..<times { counter.increment(by: 0.5) }
    }

    @inline(never)
    private static func addAtomically(to cell: UnsafeMutablePointer<Atomic<UInt64>>, times: Int) {
        for _ in 0..<times { cell.pointee.wrappingAdd(1, ordering: .relaxed) }
    }

    @inline(never)
    private static func observe(_ histogram: HistogramMetric, _ values: [Double], times: Int) {
        for index in 0..<times { histogram.observe(values[index & 1023]) }
    }

    @inline(never)
    private static func observe(_ histogram: HistogramMetric, _ values: [Duration], times: Int) {
        for index in 0..<times { histogram.observe(values[index & 1023]) }
    }
}
