// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Glibc
import MusterMetrics
import MusterPlatform

extension Benchmark {
    static func rendering(_ effort: Effort) throws -> [Figure] {
        let series = 10_000
        return [try renderings(of: exposition(series: series), series: series, effort)]
    }

    /// Renders an exposition in turns with putting the same text together in C.
    static func renderings(of exposition: Exposition, series: Int, _ effort: Effort) throws -> Figure {
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
        return Figure(
            "\(series) series, \(buffer.count / 1024) KiB", in: .nanoseconds, times[0],
            against: ("copy the text, write the numbers, in C", times[1]), limit: .ratioAtMost(3))
    }

    /// An exposition of one worker's counters.
    static func exposition(series: Int, registry: MetricRegistry? = nil) throws -> Exposition {
        let registry = try registry ?? Backends.registry(capacity: 16 << 20)
        try addSeries(series, to: registry)
        let reader = try ArenaReader(descriptor: registry.arena.descriptor.rawValue)
        return Exposition(
            sources: [ArenaSource(reader: reader, constantLabels: [("worker", "0")], logger: Backends.silent)],
            logger: Backends.silent)
    }

    /// An exposition of several workers' counters, as a supervisor has it.
    static func exposition(series: Int, workers: Int) throws -> Exposition {
        let sources = try (0..<workers).map { worker in
            let registry = try Backends.registry(capacity: 16 << 20)
            try addSeries(series, to: registry)
            let descriptor = fcntl(registry.arena.descriptor.rawValue, F_DUPFD_CLOEXEC, 0)
            guard descriptor >= 0 else { throw BenchmarkError("no descriptor: errno \(errno)") }
            let source = SlotSource(
                constantLabels: [("worker", "\(worker)"), ("worker_group", "bench")], logger: Backends.silent)
            source.use(arena: OwnedDescriptor(descriptor))
            return source
        }
        return Exposition(sources: sources, logger: Backends.silent)
    }

    /// Registers counters with two labels and values of all lengths.
    static func addSeries(_ series: Int, to registry: MetricRegistry) throws {
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
    }
}
