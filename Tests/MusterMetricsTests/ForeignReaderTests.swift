// SPDX-License-Identifier: Apache-2.0

import MusterMetrics
import Testing

/// A reader and writer in another language and another process, written from `docs/arena-layout.md`.
@Suite("Arena shared with another implementation")
struct ForeignReaderTests {
    private static let python = ForeignTool.find("python3")

    private static let script = """
        import math, mmap, os, struct
        arena = mmap.mmap(0, 0)
        def word(offset): return struct.unpack_from('<Q', arena, offset)[0]
        assert arena[:8] == b'MUSTARNA' and struct.unpack_from('<II', arena, 8) == (2, 256)
        assert word(16) == len(arena)
        start, values = word(24), word(40)
        fractions = [0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048, 0.7071067811865475,
                     0.7711054127039704, 0.8408964152537144, 0.9170040432046711]
        def native(index): return math.ldexp(fractions[index % 8], index // 8 + 1)
        families, last = [], None
        position = 0
        while position < word(64):
            record = start + position
            length, kind = struct.unpack_from('<IH', arena, record)
            if kind == 1:
                number, kind_of, value_kind, labels, schema = struct.unpack_from('<IBBBB', arena, record + 8)
                name, unit, help, bounds, exponent, octaves = struct.unpack_from('<HHHHhH', arena, record + 16)
                text = record + 32 + 8 * bounds
                buckets = set(struct.unpack_from('<%dd' % bounds, arena, record + 32))
                if schema == 3: buckets |= {native(index) for index in range(8 * exponent, 8 * (exponent + octaves) + 1)}
                names = []
                at = text + name + unit + help
                for _ in range(labels):
                    size = struct.unpack_from('<H', arena, at)[0]
                    names.append(arena[at + 2:at + 2 + size].decode())
                    at += 2 + size
                assert number == len(families)
                families.append((arena[text:text + name].decode(), kind_of, value_kind, sorted(buckets), names))
                print('family', *families[-1][:3], bounds, arena[text + name:text + name + unit].decode() or '-')
            else:
                family, labels, _, cell = struct.unpack_from('<IHHQ', arena, record + 8)
                name, kind_of, value_kind, bounds, names = families[family]
                at, pairs = record + 24, []
                for label in names:
                    size = struct.unpack_from('<H', arena, at)[0]
                    pairs.append(label + '=' + arena[at + 2:at + 2 + size].decode())
                    at += 2 + size
                if kind_of == 1:
                    text = word(cell) if value_kind == 1 else struct.unpack_from('<d', arena, cell)[0]
                elif kind_of == 3:
                    counts = [(le, word(cell + 8 + 8 * i)) for i, le in enumerate(bounds + [math.inf])]
                    text = (struct.unpack_from('<d', arena, cell)[0], [pair for pair in counts if pair[1]])
                else:
                    text = struct.unpack_from('<d', arena, cell)[0] if word(cell + 8) == word(80) else None
                print('series', name, ','.join(pairs) or '-', text)
                if name == 'jobs_total': struct.pack_into('<Q', arena, cell, word(cell) + 5)
            position += length
        # One more series of the first family, published last.
        cell = values + word(72)
        value = 'foreign'.encode()
        record = struct.pack('<IHHQ', 0, 1, 0, cell) + struct.pack('<H', len(value)) + value
        record += bytes(-len(record) % 8)
        record = struct.pack('<IHH', len(record) + 8, 2, 0) + record
        struct.pack_into('<Q', arena, cell, 42)
        struct.pack_into('<Q', arena, 72, word(72) + 8)
        at = start + word(64)
        arena[at:at + len(record)] = record
        struct.pack_into('<Q', arena, 64, word(64) + len(record))
        """

    @Test("What one writes the other reads", .enabled(if: python != nil, "python3 is not installed"))
    func bothWays() throws {
        let bench = try MetricBench()
        let registry = bench.registry
        let jobs = try registry.counterFamily("jobs_total", help: "Jobs.", labelNames: ["kind"])
        jobs.labels("own").increment(by: 3)
        try registry.histogram(
            "wait_seconds", help: "Wait.", unit: .seconds, buckets: HistogramBuckets([0.5, 1])
        ).observe(0.75)
        let precise = try registry.histogram(
            "precise_seconds", help: "Wait.", unit: .seconds, buckets: HistogramBuckets([0.6, 1]).precise(0.5...2))
        for value in [0.1, 0.55, 0.595, 0.6, 1.5, 3] { precise.observe(value) }
        try registry.gauge("depth", help: "Depth.").set(2.5)
        _ = try registry.gauge("unset", help: "Never set.")
        #expect(bench.reader.seriesCount == 5)

        let result = try ForeignTool.run(
            #require(Self.python), ["-c", Self.script], standardInput: bench.writer.descriptor)
        #expect(result.status == 0, "\(result.output)")
        #expect(
            result.output == """
                family jobs_total 1 1 0 -
                series jobs_total kind=own 3
                family wait_seconds 3 2 2 seconds
                series wait_seconds - (0.75, [(1.0, 1)])
                family precise_seconds 3 2 2 seconds
                series precise_seconds - (6.345000000000001, [(0.5, 1), (0.5946035575013605, 1), (0.6, 2), (1.5422108254079407, 1), (inf, 1)])
                family depth 2 2 0 -
                series depth - 2.5
                family unset 2 2 0 -
                series unset - None

                """)
        #expect(jobs.labels("own").value == 8)
        #expect(bench.reader.value(of: "jobs_total", labels: [(name: "kind", value: "foreign")]) == 42)
        #expect(bench.reader.damage == nil)
        // Our writer reads what was appended before it appends itself.
        jobs.labels("foreign").increment()
        jobs.labels("later").increment()
        #expect(bench.reader.value(of: "jobs_total", labels: [(name: "kind", value: "foreign")]) == 43)
        #expect(bench.reader.value(of: "jobs_total", labels: [(name: "kind", value: "later")]) == 1)
        #expect(bench.reader.seriesCount == 7)
    }
}
