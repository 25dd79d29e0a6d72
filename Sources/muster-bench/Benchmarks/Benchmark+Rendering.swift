// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import MusterMetrics
import MusterPlatform

extension Benchmark {
    static func rendering(_ effort: Effort) throws -> [Figure] {
        let series = 10_000
        let exposition = try Self.exposition(series: series)
        var buffer: [UInt8] = []
        exposition.render(.text, into: &buffer)
        let lines = ExpositionLines(buffer)
        guard lines.valueCount >= series, lines.render() == buffer else {
            throw BenchmarkError("the reference does not write the same text")
        }
        let passes = 2
        let times = try Rounds.run(
            effort(201, quick: 51),
            [
                {
                    let start = cmusterbench_now()
                    for _ in 0..<passes { exposition.render(.text, into: &buffer) }
                    return Double(cmusterbench_now() - start) / Double(passes)
                },
                {
                    let start = cmusterbench_now()
                    for _ in 0..<passes { lines.renderAgain() }
                    return Double(cmusterbench_now() - start) / Double(passes)
                },
            ])
        return [
            Figure(
                "\(series) series, \(buffer.count / 1024) KiB", in: .nanoseconds, times[0],
                against: ("copy the text, write the numbers, in C", times[1]), limit: .ratioAtMost(3))
        ]
    }

    /// An exposition of counters with two labels and values of all lengths.
    static func exposition(series: Int, registry: MetricRegistry? = nil) throws -> Exposition {
        let registry = try registry ?? Backends.registry(capacity: 16 << 20)
        let family = try registry.counterFamily(
            "bench_requests_total", help: "Requests.", labelNames: ["method", "path"], seriesLimit: series)
        var random = SplitMix(state: 3)
        for number in 0..<series {
            let digits = random.next() % 10
            var limit: UInt64 = 10
            for _ in 0..<digits { limit *= 10 }
            family.labels("get", "/items/\(number)").increment(by: Int(random.next() % limit))
        }
        guard registry.arena.droppedSeries == 0 else { throw BenchmarkError("the arena is too small") }
        let reader = try ArenaReader(descriptor: registry.arena.descriptor.rawValue)
        return Exposition(
            sources: [ArenaSource(reader: reader, constantLabels: [("worker", "0")], logger: Backends.silent)],
            logger: Backends.silent)
    }
}
