// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import Synchronization
import Testing

@testable import MusterMetrics

@Suite("Exemplars")
struct ExemplarTests {
    private static let reference = TraceReference(
        trace: (0x4bf9_2f35_77b3_4da6, 0xa3ce_929d_0e0e_4736), span: 0xf067_aa0b_a902_b7)

    @Test("A traceparent is read as W3C has it, and only that of a recorded span")
    func traceparent() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        #expect(TraceReference(traceparent: good) == Self.reference)
        #expect(TraceReference(traceparent: "01" + good.dropFirst(2) + "-more") == Self.reference, "a later version")
        for bad in [
            "", "00", good + "-more", "ff" + good.dropFirst(2), good.dropLast(2) + "00", good.uppercased(),
            good.replacing("-", with: "_"), String(good.dropLast()),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "00-é" + good.dropFirst(5),
        ] {
            #expect(TraceReference(traceparent: bad) == nil, "\(bad)")
        }
    }

    /// A histogram with an observation, and the key of the bucket that it is in.
    private struct Bench {
        let bench: MetricBench
        let table: ExemplarTable
        let key: Int

        init() throws {
            bench = try MetricBench(constantLabels: [(name: "worker", value: "0")])
            let histogram = try bench.registry.histogram(
                "wait_seconds", help: "", unit: .seconds, buckets: .init([0.1, 1]))
            histogram.observe(0.5)
            table = try #require(bench.registry.storage.arena.exemplars)
            let base = UnsafeRawPointer(bench.registry.storage.arena.mapping.base)
            key = UnsafeRawPointer(histogram.cells) - base + 16
        }

        func exemplars(_ format: ExpositionFormat = .openMetrics) -> [Substring] {
            bench.render(format).split(separator: "\n").filter { $0.contains(" # {") }
        }
    }

    @Test(
        "prometheus_client reads what is shown",
        .enabled(if: ConformanceTests.python != nil, "prometheus_client is not installed"))
    func foreignReader() throws {
        let bench = try Bench()
        bench.table.write(
            Exemplar(reference: Self.reference, value: 0.5, time: 1_700_000_000_250), for: bench.key)
        let script = """
            import sys
            from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
            for family in parse(sys.stdin.buffer.read().decode()):
                for sample in family.samples:
                    found = sample.exemplar
                    if found: print(sample.name, sample.labels['le'], sorted(found.labels.items()), found.value, float(found.timestamp))
            """
        let text = Array(bench.bench.render(.openMetrics).utf8)
        let result = try ForeignTool.run(#require(ConformanceTests.python), ["-c", script], input: text)
        #expect(
            result.output == """
                wait_seconds_bucket 1.0 [('span_id', '00f067aa0ba902b7'), \
                ('trace_id', '4bf92f3577b34da6a3ce929d0e0e4736')] 0.5 1700000000.25

                """)
    }

    @Test("One is shown with its bucket, in OpenMetrics alone, and after the next generation")
    func shown() throws {
        let bench = try Bench()
        #expect(bench.exemplars().isEmpty)
        bench.table.write(
            Exemplar(reference: Self.reference, value: 0.5, time: 1_700_000_000_250), for: bench.key)
        let line =
            "wait_seconds_bucket{worker=\"0\",le=\"1.0\"} 1 "
            + "# {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\",span_id=\"00f067aa0ba902b7\"} 0.5 1700000000.25"
        #expect(bench.exemplars() == [line[...]])
        #expect(bench.exemplars(.text).isEmpty)
        let exemplar = line.drop { $0 != "#" }
        #expect(try bench.bench.nextGeneration().render(.openMetrics).contains(exemplar))
    }

    @Test("What a broken writer leaves in a slot is not shown", arguments: 0..<7)
    func torn(word: Int) throws {
        let bench = try Bench()
        bench.table.write(Exemplar(reference: Self.reference, value: 0.5, time: 1), for: bench.key)
        #expect(bench.exemplars().count == 1)
        let mapping = bench.bench.registry.storage.arena.mapping
        let header = try ArenaHeader(mapping)
        let cells = (0..<header.exemplarSlots * 8).map { mapping.cell(at: header.exemplarOffset + 8 * $0) }
        let slot = try #require(cells.firstIndex { $0.pointee.load(ordering: .relaxed) == UInt64(bench.key) })
        cells[slot + word].pointee.bitwiseXor(1 << 40, ordering: .relaxed)
        #expect(bench.exemplars().isEmpty)
    }

    @Test(
        "A value of another bucket, and one that is no number, is not shown", arguments: [0.1, 1.5, .nan, -.infinity])
    func implausible(value: Double) throws {
        let bench = try Bench()
        bench.table.write(Exemplar(reference: Self.reference, value: value, time: 1), for: bench.key)
        #expect(bench.exemplars().isEmpty)
    }

    @Test("A slot is written again after a second")
    func due() throws {
        let bench = try Bench()
        #expect(bench.table.isDue(bench.key, at: 5000))
        bench.table.write(Exemplar(reference: Self.reference, value: 0.5, time: 5000), for: bench.key)
        #expect(!bench.table.isDue(bench.key, at: 5999))
        #expect(bench.table.isDue(bench.key, at: 6000))
        #expect(bench.table.isDue(bench.key, at: 4000), "the clock was set back")
    }

    @Test("An observation in no recorded span keeps a bucket's others of that millisecond from being looked at")
    func miss() throws {
        let bench = try Bench()
        bench.table.recordMiss(of: bench.key, at: 5000)
        #expect(!bench.table.isDue(bench.key, at: 5000))
        #expect(bench.table.isDue(bench.key, at: 5001))
        #expect(bench.exemplars().isEmpty)
        bench.table.write(Exemplar(reference: Self.reference, value: 0.5, time: 5001), for: bench.key)
        bench.table.recordMiss(of: bench.key, at: 7000)
        #expect(bench.exemplars().count == 1)
    }

    @Test("Whatever is in the slots, there is nothing to read but exemplars")
    func garbage() throws {
        let bench = try Bench()
        bench.table.write(Exemplar(reference: Self.reference, value: 0.5, time: 1), for: bench.key)
        let mapping = bench.bench.registry.storage.arena.mapping
        let header = try ArenaHeader(mapping)
        var random = SplitMix64(seed: 7)
        for word in 0..<header.exemplarSlots * 8 {
            // Some keys are right.
            let value = word % 8 == 0 && random.next() % 2 == 0 ? UInt64(bench.key) : random.next()
            mapping.cell(at: header.exemplarOffset + 8 * word).pointee.store(value, ordering: .relaxed)
        }
        #expect(bench.exemplars().isEmpty)
    }

    @Test("A small arena has none, and a header that lies about them is refused")
    func header() throws {
        #expect(try MetricBench(capacity: 1 << 16).registry.storage.arena.exemplars == nil)
        for (offset, slots) in [
            (0, 1024), ((1 << 20) - 64, 1024), ((1 << 20) - 65_536, 1023), ((1 << 20) - 65_544, 1024),
        ] {
            let writer = try ArenaWriter.create(name: "test", capacity: 1 << 20)
            writer.mapping.cell(at: ArenaLayout.Offset.exemplarOffset).pointee.store(UInt64(offset), ordering: .relaxed)
            writer.mapping.cell(at: ArenaLayout.Offset.exemplarSlots).pointee.store(UInt64(slots), ordering: .relaxed)
            #expect(throws: ArenaError.self) { try ArenaReader(descriptor: writer.descriptor.rawValue) }
        }
    }
}
