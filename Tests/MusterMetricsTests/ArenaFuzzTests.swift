// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import MusterTestSupport
import Synchronization
import Testing

@testable import MusterMetrics

@Suite("Arena that was scribbled on")
struct ArenaFuzzTests {
    /// A splitmix64 generator: the same scribbles in every run.
    struct Scribbler: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
    }

    private static func arena() throws -> MetricBench {
        let bench = try MetricBench(capacity: 4096, constantLabels: [(name: "worker", value: "0")])
        let jobs = try bench.registry.counterFamily("jobs_total", help: "Jobs.", labelNames: ["kind", "worker"])
        jobs.labels("mäil", "x").increment(by: 3)
        jobs.labels("", "y").increment()
        try bench.registry.gauge("depth_ratio", help: "Depth.", unit: .ratio).set(0.5)
        try bench.registry.histogram("wait_seconds", help: "W.", buckets: HistogramBuckets([0.1, 1])).observe(0.3)
        try bench.registry.info("build", help: "B.", labels: [(name: "version", value: "1.0")])
        return bench
    }

    @Test("Twenty thousand scribbles give a typed error or a sound exposition, never a trap")
    func scribbles() throws {
        let bench = try Self.arena()
        let mapping = bench.writer.mapping
        let sound = mapping.copy(0..<mapping.size)
        let used = Int(bench.word(ArenaLayout.Offset.committedDescriptorBytes)) + ArenaLayout.headerSize
        var random = Scribbler(state: 0x6D75_7374_6572)
        var refused = 0
        var rendered = 0
        let rounds = Scale.of(20_000)
        for round in 0..<rounds {
            // Mostly where something stands; now and then anywhere.
            let limit = round % 8 == 0 ? mapping.size : used
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let offset = Int.random(in: 0..<limit, using: &random)
                switch random.next() % 4 {
                case 0:
                    mapping.base.storeBytes(
                        of: UInt8(truncatingIfNeeded: random.next()), toByteOffset: offset, as: UInt8.self)
                case 1:
                    mapping.base.storeBytes(
                        of: mapping.base.load(fromByteOffset: offset, as: UInt8.self) ^ (1 << UInt8(random.next() % 8)),
                        toByteOffset: offset, as: UInt8.self)
                case 2:
                    let small = UInt64(truncatingIfNeeded: random.next() % 4096)
                    mapping.cell(at: offset & ~7).pointee.store(small, ordering: .relaxed)
                default:
                    mapping.cell(at: offset & ~7).pointee.store(random.next(), ordering: .relaxed)
                }
            }
            do throws(ArenaError) {
                let reader = try ArenaReader(descriptor: bench.writer.descriptor.rawValue)
                let source = ArenaSource(
                    reader: reader, constantLabels: [(name: "worker", value: "0")], logger: bench.log.logger)
                let buffer = Exposition(sources: [source], logger: bench.log.logger).rendered(.openMetrics)
                if !buffer.suffix(6).elementsEqual("# EOF\n".utf8) || reader.seriesCount > 5 {
                    Issue.record("round \(round): \(String(decoding: buffer, as: UTF8.self))")
                }
                _ = reader.value(of: "jobs_total", labels: [(name: "kind", value: ""), (name: "worker", value: "y")])
                rendered += 1
            } catch {
                if error.description.isEmpty { Issue.record("round \(round): an error without a text") }
                refused += 1
            }
            // A writer that attaches must survive, too; it changes the epoch only where the arena was accepted.
            if round % 4 == 0, let writer = try? ArenaWriter(descriptor: bench.writer.descriptor) {
                let registry = MetricRegistry(arena: writer, logger: bench.log.logger)
                try? registry.counter("late_total", help: "Late.").increment()
            }
            mapping.base.copyMemory(from: sound, byteCount: sound.count)
        }
        #expect(refused > rounds / 10)
        #expect(rendered > rounds / 10)
    }

    @Test("A reader that is in use survives scribbles and keeps what it knows")
    func scribblesUnderReader() throws {
        let bench = try Self.arena()
        let mapping = bench.writer.mapping
        var random = Scribbler(state: 42)
        for _ in 0..<Scale.of(2_000) {
            mapping.cell(at: Int.random(in: 0..<mapping.size / 8, using: &random) * 8).pointee
                .store(random.next(), ordering: .relaxed)
            #expect(bench.render(.openMetrics).hasSuffix("# EOF\n"))
        }
        #expect(bench.reader.seriesCount == 5)
    }

    @Test(
        "A record that lies is refused with its place and the reason",
        arguments: [
            (0, UInt8(7), "length"), (0, 0, "length"), (4, 9, "unknown kind"), (8, 3, "family id"),
            (12, 0, "metric type"), (13, 3, "value kind"), (14, 200, "labels"), (16, 250, "over the record's end"),
            (22, 255, "bucket"), (32, 0x20, "ASCII letters"), (32, 0xFF, "UTF-8"),
        ])
    func lyingRecord(offset: Int, value: UInt8, reason: String) throws {
        let bench = try MetricBench()
        try bench.registry.counter("jobs_total", help: "Jobs.").increment()
        bench.writer.mapping.base.storeBytes(
            of: value, toByteOffset: ArenaLayout.headerSize + offset, as: UInt8.self)
        #expect {
            try ArenaReader(descriptor: bench.writer.descriptor.rawValue)
        } throws: { error in
            guard case ArenaError.invalidRecord(let place, let text) = error else { return false }
            return place == 0 && text.contains(reason)
        }
    }

    @Test("Series that lie about their cells are refused")
    func lyingSeries() throws {
        let bench = try MetricBench()
        try bench.registry.counter("jobs_total", help: "Jobs.").increment()
        try bench.registry.gauge("depth", help: "Depth.").set(1)
        // The first series follows the first family: its value offset stands at byte 16 of the record.
        let family = Int(bench.writer.mapping.base.load(fromByteOffset: ArenaLayout.headerSize, as: UInt32.self))
        let place = ArenaLayout.headerSize + family + 16
        let sound = bench.word(place)
        for lie in [0, 8, sound + 4, sound + 16, sound - 8, UInt64(1 << 20), .max, 1 << 63, UInt64(Int.max)] {
            bench.setWord(place, lie)
            #expect(throws: ArenaError.self, "\(lie)") {
                try ArenaReader(descriptor: bench.writer.descriptor.rawValue)
            }
        }
        bench.setWord(place, sound)
        #expect(try ArenaReader(descriptor: bench.writer.descriptor.rawValue).seriesCount == 2)
    }

    @Test("A family or a series that comes twice is refused")
    func duplicates() throws {
        let header = ArenaHeader(totalSize: 1 << 20)
        let family = FamilyDefinition(
            name: "jobs_total", type: .counter, isFloatingPoint: false, unit: nil, help: "", labelNames: ["kind"],
            buckets: nil)
        var gauge = family
        gauge.name = "jobs"
        gauge.type = .gauge
        gauge.isFloatingPoint = true
        var index = ArenaIndex()
        #expect {
            try index.parse(
                ArenaRecord.family(family, identifier: 0) + ArenaRecord.family(gauge, identifier: 1), base: 0,
                header: header, valueLimit: 64)
        } throws: {
            "\($0)".contains("second family jobs")
        }
        let series = ArenaSeries(labelValues: ["a"], valueOffset: header.valueOffset)
        let again = ArenaSeries(labelValues: ["a"], valueOffset: header.valueOffset + 8)
        var other = ArenaIndex()
        #expect {
            try other.parse(
                ArenaRecord.family(family, identifier: 0) + ArenaRecord.series(series, family: 0)
                    + ArenaRecord.series(again, family: 0), base: 0, header: header, valueLimit: 64)
        } throws: {
            "\($0)".contains("second series")
        }
    }
}
