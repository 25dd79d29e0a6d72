// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterMetrics

@Suite("Precise histograms")
struct PreciseHistogramTests {
    /// Values of all kinds: the bounds, their neighbours, and some between.
    private static func values(_ layout: BucketLayout) -> [Double] {
        var values: [Double] = [
            0, -0.0, -1e-9, -3, -1e300, .leastNonzeroMagnitude, .leastNormalMagnitude, 1e-30, 1e30,
            .greatestFiniteMagnitude,
        ]
        for bound in layout.bounds { values += [bound, bound.nextUp, bound.nextDown, -bound] }
        var generator = SplitMix64(seed: 14)
        for _ in 0..<5000 {
            let exponent = Int.random(in: -30...20, using: &generator)
            values.append(Double(sign: .plus, exponent: exponent, significand: .random(in: 1..<2, using: &generator)))
        }
        return values
    }

    private static func buckets() throws -> [HistogramBuckets] {
        [
            .lateness, .preciseSeconds, .seconds, .general,
            try HistogramBuckets([-1, 0, 0.3, 0.31, 0.311, 0.3111]).precise(),
            try HistogramBuckets.linear(start: 0.5, width: 0.001, count: 200).precise(),
            try HistogramBuckets.linear(start: 1, width: 1, count: 3).precise(1...0x1p64),
            try HistogramBuckets([1]).precise(0x1p-512...0x1p-500),
            try HistogramBuckets([1]).precise(0x1p511...0x1p512),
            try HistogramBuckets([2000]).precise(3...3.5),
        ]
    }

    @Test("Each observation is in the first bucket whose bound is not below it")
    func places() throws {
        for buckets in try Self.buckets() {
            let layout = buckets.layout
            for value in Self.values(layout) {
                let expected = layout.bounds.firstIndex { $0 >= value } ?? layout.bounds.count
                #expect(layout.bucket(of: value) == expected, "\(value)")
            }
        }
    }

    @Test("Durations have buckets less than 10 % wide from 1 µs to 1000 s, in some 2 KiB")
    func widths() throws {
        for buckets in [HistogramBuckets.lateness, .preciseSeconds] {
            let bounds = buckets.layout.bounds
            #expect(zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 && $1 / $0 < 1.0906 })
            #expect(try #require(bounds.first) <= 1e-6)
            #expect(try #require(bounds.last) >= 1000)
            #expect(Set(buckets.bounds).isSubset(of: bounds))
            let definition = FamilyDefinition(
                name: "x", type: .histogram, isFloatingPoint: true, unit: nil, help: "", labelNames: [],
                buckets: buckets)
            #expect(definition.valueSize <= 2112)
            #expect(try HistogramBuckets(buckets.bounds).precise().layout === buckets.layout, "it is shared")
        }
        for buckets in try Self.buckets() {
            #expect(buckets.layout.count + 2 <= ArenaLayout.maximumCells)
        }
    }

    @Test("The text is that of a histogram with the same bounds that is not precise, exactly")
    func text() throws {
        for buckets in try Self.buckets() where buckets.native != nil {
            let benches = [try MetricBench(), try MetricBench()]
            for (bench, buckets) in zip(benches, [buckets, try HistogramBuckets(buckets.bounds)]) {
                let wait = try bench.registry.histogram("wait", help: "Wait.", buckets: buckets)
                for value in Self.values(buckets.layout) { wait.observe(value) }
            }
            // The bounds, which are observed too, are not the same.
            let wait = try benches[1].registry.histogram(
                "wait", help: "Wait.", buckets: HistogramBuckets(buckets.bounds))
            let known = Set(Self.values(try HistogramBuckets(buckets.bounds).layout).map(\.bitPattern))
            for value in Self.values(buckets.layout) where !known.contains(value.bitPattern) { wait.observe(value) }
            let texts = benches.map { bench in
                bench.text().split(separator: "\n").filter { !$0.contains("_sum") && $0.contains("le=") }
            }
            let all = Self.values(buckets.layout)
            for (line, bound) in zip(texts[0], buckets.bounds) {
                #expect(line.hasSuffix(" \(all.count { $0 <= bound })"))
            }
            #expect(texts[0].map { $0.prefix { $0 != " " } } == texts[1].map { $0.prefix { $0 != " " } })
        }
    }

    @Test("Native buckets hold exactly what lies between their bounds, and nothing is lost at the edges")
    func native() throws {
        for buckets in try Self.buckets() {
            guard let native = buckets.native else { continue }
            let bench = try MetricBench()
            let wait = try bench.registry.histogram("wait", help: "Wait.", buckets: buckets)
            let values = Self.values(buckets.layout)
            for value in values { wait.observe(value) }
            let snapshot = try ExpositionSnapshot(protobuf: bench.exposition.rendered(.protobuf))
            let histogram = try #require(snapshot.series("wait").first?.histogram)
            let read = try #require(histogram.native)
            #expect(histogram.count == UInt64(values.count) && read.count == histogram.count)
            #expect(read.schema == 3 && read.zeroThreshold == NativeBuckets.bound(native.zeroIndex))
            #expect(read.zeroCount == UInt64(values.count { $0 <= read.zeroThreshold }))
            for (index, count) in read.buckets {
                let low = read.upperBound(of: index - 1)
                let high = index > native.lastIndex ? .infinity : read.upperBound(of: index)
                #expect(count == UInt64(values.count { $0 > low && $0 <= high }), "\(index)")
            }
            #expect(histogram.classic.bounds == buckets.bounds)
            for (bound, share) in zip(buckets.bounds, buckets.bounds.indices) {
                let below = histogram.classic.bucketCounts[...share].reduce(0, +)
                #expect(below == UInt64(values.count { $0 <= bound }))
            }
        }
    }

    @Test("Quantiles are within 10 % of the truth")
    func quantiles() throws {
        let bench = try MetricBench()
        let wait = try bench.registry.histogram("wait_seconds", help: "Wait.", unit: .seconds, buckets: .lateness)
        var generator = SplitMix64(seed: 3)
        let values = (0..<20_000).map { _ in 1e-6 * Double.random(in: 1...20, using: &generator).squareRoot() * 300 }
        for value in values { wait.observe(value) }
        let sorted = values.sorted()
        let read = try #require(
            try ExpositionSnapshot(protobuf: bench.exposition.rendered(.protobuf)).series("wait_seconds").first?
                .histogram)
        for share in [0.01, 0.1, 0.5, 0.9, 0.99, 0.999] {
            let truth = sorted[Int(share * Double(sorted.count))]
            for estimate in [wait.snapshot().quantile(share), read.quantile(share)] {
                #expect(abs(try #require(estimate) / truth - 1) < 0.1, "\(share)")
            }
        }
        #expect(try #require(read.native).quantile(0).map { $0 > 0 } == true)
        #expect(read.native?.quantile(1).map { $0 >= sorted[sorted.count - 1] } == true)
    }

    @Test("What is no finite number is refused; what is not positive counts around zero, what is huge beyond the end")
    func edges() throws {
        let bench = try MetricBench()
        let wait = try bench.registry.histogram("wait_seconds", help: "Wait.", buckets: .preciseSeconds)
        func read() throws -> ExposedHistogram {
            let snapshot = try ExpositionSnapshot(protobuf: bench.exposition.rendered(.protobuf))
            return try #require(snapshot.series("wait_seconds").first?.histogram)
        }
        #expect(try read().native == NativeHistogram(schema: 3, zeroThreshold: 0x1p-20, zeroCount: 0, buckets: [:]))
        #expect(try read().quantile(0.5) == nil)
        for value in [Double.nan, .infinity, -.infinity] { wait.observe(value) }
        #expect(try read().count == 0 && bench.writer.droppedUpdates == 3)
        for value in [0, -5, 1e-7, 0x1p-20, 1024, Double(1024).nextUp, 1e300] { wait.observe(value) }
        #expect(try read().native?.zeroCount == 4)
        #expect(try read().native?.buckets == [80: 1, 81: 2])
        #expect(try read().quantile(1) == NativeBuckets.bound(81))
        #expect(wait.snapshot().quantile(1) == 1024)
    }

    @Test(
        "A range that cannot be kept is refused with what is wrong",
        arguments: [
            0...1, -1...1, 1...1, 1...0x1p65, .leastNonzeroMagnitude...1, 1...(.infinity), 0x1p-600...0x1p-590,
            0x1p600...0x1p601,
        ] as [ClosedRange<Double>])
    func ranges(range: ClosedRange<Double>) {
        #expect { try HistogramBuckets.seconds.precise(range) } throws: { "\($0)".contains("precise from") }
    }

    @Test("Once precise, always precise: a family is one or the other")
    func clash() throws {
        let bench = try MetricBench()
        _ = try bench.registry.histogram("wait_seconds", help: "Wait.", buckets: .seconds)
        #expect(throws: MetricError.clash(name: "wait_seconds", difference: "it is registered as not precise")) {
            try bench.registry.histogram("wait_seconds", help: "Wait.", buckets: .preciseSeconds)
        }
        _ = try bench.registry.histogram("other_seconds", help: "Wait.", buckets: .preciseSeconds)
        #expect {
            try bench.registry.histogram("other_seconds", help: "Wait.", buckets: .seconds.precise(1...2))
        } throws: {
            "\($0)".contains("as precise from 2^-20, over 30 powers of 2")
        }
    }

    @Test("In a full arena the series is dropped and counted, and its handle leads nowhere")
    func full() throws {
        let bench = try MetricBench(capacity: 8192)
        let waits = try bench.registry.histogramFamily(
            "wait_seconds", help: "Wait.", buckets: .lateness, labelNames: ["kind"])
        for kind in 0..<5 { for value in [0, 1e-3, 5000] { waits.labels("\(kind)").observe(value) } }
        #expect(bench.reader.seriesCount == 2)
        #expect(bench.writer.droppedSeries == 9, "each time it is looked for")
        // The largest series that there can be.
        let largest = try bench.registry.histogram(
            "large", help: "", buckets: .linear(start: 1.0001, width: 1, count: 200).precise(1...0x1p64))
        for value in [0, 1, 150, 0x1p63, 0x1p70] { largest.observe(value) }
        let snapshot = try ExpositionSnapshot(protobuf: bench.exposition.rendered(.protobuf))
        #expect(snapshot.series("wait_seconds").map { $0.histogram?.count } == [3, 3])
        #expect(snapshot.series("muster_metrics_dropped_series_total").first?.number == 10)
        #expect(bench.reader.damage == nil)
    }

    @Test("Families without series cost their reader no buckets, however many there are")
    func noSeries() throws {
        let bench = SlotBench()
        let process = try bench.start()
        let precise = try HistogramBuckets([1]).precise(1...0x1p64)
        for number in 0..<100 {
            _ = try process.registry.histogramFamily("wait\(number)", help: "", buckets: precise, labelNames: ["kind"])
        }
        let reader = try ArenaReader(descriptor: process.writer.descriptor.rawValue)
        let plain = Exposition(sources: [ArenaSource(reader: reader, constantLabels: [])])
        for format in [ExpositionFormat.text, .protobuf] {
            #expect(!plain.text(format).contains("wait") && !bench.exposition.text(format).contains("wait"))
        }
        #expect(bench.source.isReadable && bench.source.read(["wait7"], limit: 5).isEmpty)
        #expect(reader.read(["wait7"], limit: 5).isEmpty && reader.families.count == 100)
        #expect(
            reader.withIndex { index, _ in index.families.allSatisfy { $0.definition.buckets?.hasLayout == false } })
    }

    @Test("What processes of a slot's former arenas observed is added, in both kinds of buckets")
    func carried() throws {
        let bench = SlotBench()
        for (pid, value) in [(1, 0.0123), (2, 0.0124), (3, 0.5), (4, 1e-9)] {
            let process = try bench.start(pid: Int32(pid))
            let waits = try process.registry.histogramFamily(
                "wait_seconds", help: "Wait.", buckets: .lateness, labelNames: ["kind"])
            waits.labels("x").observe(value)
            if pid == 2 { bench.source.processEnded(pid: 2) }
        }
        let series = try ExpositionSnapshot(protobuf: bench.exposition.rendered(.protobuf)).series(
            "wait_seconds", ["kind": "x", "worker": "0"])
        let histogram = try #require(series.first?.histogram)
        #expect(series.count == 1 && histogram.count == 4)
        #expect(histogram.native?.zeroCount == 1)
        #expect(histogram.native?.buckets == [-50: 2, -8: 1])
        #expect(bench.value("wait_seconds_bucket{worker=\"0\",kind=\"x\",le=\"0.01\"}") == 1)
        #expect(bench.value("wait_seconds_bucket{worker=\"0\",kind=\"x\",le=\"0.025\"}") == 3)
        let reading = try #require(bench.source.read(["wait_seconds"], limit: 1).first?.histogram)
        #expect(reading.count == 4)
        #expect(abs(try #require(reading.quantile(0.75)) / 0.0124 - 1) < 0.1)
    }

    @Test("Workers' histograms are added, and a time's observations are the difference of two readings")
    func arithmetic() throws {
        func histogram(_ values: [Double], _ buckets: HistogramBuckets = .lateness) throws -> ExposedHistogram {
            let bench = try MetricBench()
            let wait = try bench.registry.histogram("wait", help: "Wait.", buckets: buckets)
            for value in values { wait.observe(value) }
            let snapshot = try ExpositionSnapshot(protobuf: bench.exposition.rendered(.protobuf))
            return try #require(snapshot.series("wait").first?.histogram)
        }
        let first = try histogram([0.001, 0.002])
        var sum = first
        sum.add(try histogram([0.004, 0.004, 0]))
        #expect(sum == (try histogram([0.001, 0.002, 0.004, 0.004, 0])))
        let since = sum.since(first)
        #expect(since.count == 3 && since.native?.zeroCount == 1 && since.native?.count == 3)
        #expect(abs(try #require(since.quantile(0.99)) / 0.004 - 1) < 0.1)
        #expect(first.since(sum) == first, "it has begun anew")
        sum.add(try histogram([0.001], .seconds))
        #expect(sum.native == nil, "what is not precise makes the sum so")
    }
}

@Suite("Expositions in protobuf")
struct ExpositionSnapshotTests {
    private static func bench() throws -> MetricBench {
        let bench = try MetricBench(constantLabels: [(name: "worker", value: "0")])
        let jobs = try bench.registry.counterFamily("jobs_total", help: "Jobs, grün.", labelNames: ["kind"])
        for (index, value) in ConformanceTests.hostileValues.enumerated() { jobs.labels(value).increment(by: index) }
        let depth = try bench.registry.gaugeFamily("depth", help: "", labelNames: ["worker", "place"])
        for value in [0.5, -.infinity, .infinity, 1e300, -1e-300] { depth.labels("own", "\(value)").set(value) }
        try bench.registry.floatingPointCounter("cpu_seconds_total", help: "CPU.").increment(by: 1.5)
        try bench.registry.info("build", help: "Build.", labels: [(name: "version", value: "1.2")])
        try bench.registry.histogram("wait_seconds", help: "Wait.", buckets: .lateness).observe(0.3)
        try bench.registry.histogram("size", help: "Size.", buckets: .general).observe(70)
        _ = try bench.registry.gauge("unset", help: "Never set.")
        bench.exposition.add(
            CollectorSource {
                [
                    CollectedFamily(FamilyDescriptor(name: "depth", type: .gauge, help: ""), value: 7),
                    CollectedFamily(
                        FamilyDescriptor(name: "now_total", type: .counter, help: "Now."),
                        samples: [(labels: [(name: "bad name", value: "x"), (name: "good", value: "\"")], value: 3)]),
                ]
            })
        return bench
    }

    @Test("are read back as they were written")
    func roundTrip() throws {
        let bench = try Self.bench()
        // Series that join later, too.
        _ = bench.bytes(.protobuf)
        try bench.registry.counterFamily("jobs_total", help: "", labelNames: ["kind"]).labels("later").increment()
        let snapshot = try ExpositionSnapshot(protobuf: bench.exposition.rendered(.protobuf))
        #expect(
            snapshot.families.map(\.name) == [
                "build_info", "cpu_seconds_total", "depth", "jobs_total", "muster_metrics_dropped_series_total",
                "muster_metrics_dropped_updates_total", "now_total", "size", "wait_seconds",
            ])
        #expect(snapshot.families.map(\.type).prefix(3) == [.gauge, .counter, .gauge])
        #expect(snapshot.families[3].help == "Jobs, grün.")
        for (index, value) in ConformanceTests.hostileValues.enumerated() {
            let series = snapshot.series("jobs_total").filter { $0.labels == ["worker": "0", "kind": value] }
            #expect(series.map(\.number) == [Double(index)], "\(value.debugDescription)")
        }
        #expect(snapshot.series("jobs_total", ["kind": "later"]).first?.number == 1)
        for value in [0.5, -.infinity, .infinity, 1e300, -1e-300] {
            let labels = ["worker": "0", "exported_worker": "own", "place": "\(value)"]
            #expect(snapshot.series("depth", labels).map(\.number) == [value])
        }
        #expect(snapshot.series("depth").last?.number == 7 && snapshot.series("depth").last?.labels == [:])
        #expect(snapshot.series("now_total").first?.labels == ["good": "\""])
        #expect(snapshot.series("cpu_seconds_total").first?.number == 1.5)
        let size = try #require(snapshot.series("size").first?.histogram)
        #expect(size.native == nil && size.count == 1 && size.sum == 70)
        #expect(size.classic.bounds == HistogramBuckets.general.bounds)
        #expect(size.quantile(1) == 100)
    }

    @Test("show no more than the families that were asked for")
    func names() throws {
        let bench = try Self.bench()
        let bytes = bench.exposition.rendered(.protobuf, names: ["jobs", "unset"])
        #expect(try ExpositionSnapshot(protobuf: bytes).families.map(\.name) == ["jobs_total"])
        #expect(bench.exposition.rendered(.protobuf, names: ["none"]).isEmpty)
        #expect(try ExpositionSnapshot(protobuf: []).families.isEmpty)
    }

    @Test("that are cut off or scribbled on are errors, or other expositions, and no more")
    func damage() throws {
        let bytes = try Self.bench().bytes(.protobuf)
        var complete = 0
        for length in 0..<bytes.count where (try? ExpositionSnapshot(protobuf: Array(bytes[..<length]))) != nil {
            complete += 1
        }
        #expect(complete == 9, "only where a family ends")
        var generator = SplitMix64(seed: 5)
        for _ in 0..<3000 {
            var other = bytes
            for _ in 0..<Int.random(in: 1...8, using: &generator) {
                other[.random(in: other.indices, using: &generator)] = .random(in: 0...255, using: &generator)
            }
            let snapshot = try? ExpositionSnapshot(protobuf: other)
            _ = snapshot?.families.flatMap(\.series).map { $0.histogram?.quantile(0.5) }
        }
        let nonsense: [[UInt8]] = [
            [0xFF], [5, 1], [2, 0x08, 1], [0, 0], [3, 0x0F, 0, 0], Array(repeating: 0xFF, count: 20),
        ]
        for bytes in nonsense {
            #expect(throws: ExpositionError.self, "\(bytes)") { try ExpositionSnapshot(protobuf: bytes) }
        }
        #expect { try ExpositionSnapshot(protobuf: [5, 1]) } throws: { "\($0)".contains("within a message at byte 1") }
    }

    @Test("tell spans with gaps of any length")
    func gaps() throws {
        let bench = try MetricBench()
        let wait = try bench.registry.histogram("wait", help: "Wait.", buckets: HistogramBuckets([1]).precise())
        var generator = SplitMix64(seed: 9)
        var expected: [Int: UInt64] = [:]
        for index in -159...80 where Int.random(in: 0..<4, using: &generator) == 0 {
            let count = UInt64.random(in: 1...100, using: &generator)
            expected[index] = count
            for _ in 0..<count { wait.observe(NativeBuckets.bound(index)) }
        }
        let read = try ExpositionSnapshot(protobuf: bench.exposition.rendered(.protobuf)).series("wait").first?
            .histogram?.native
        #expect(read?.buckets == expected)
    }
}
