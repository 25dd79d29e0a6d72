// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterMetrics
import MusterPlatform
import Testing

@Suite("Registry and handles")
struct MetricRegistryTests {
    @Test("Registering the same metric again gives the same series")
    func sameMetric() throws {
        let bench = try MetricBench()
        try bench.registry.counter("jobs_total", help: "Jobs.").increment()
        let again = try bench.registry.counter("jobs_total", help: "Another text, the first one stays.")
        again.increment(by: 2)
        #expect(again.value == 3)
        #expect(bench.reader.seriesCount == 1)
        // A second registry over the same arena shares it, too.
        try MetricRegistry(arena: bench.writer).counter("jobs_total", help: "Jobs.").increment()
        #expect(again.value == 4)
    }

    @Test("A counter refuses to fall, counts the attempt and logs it once")
    func negativeIncrement() throws {
        let bench = try MetricBench()
        let jobs = try bench.registry.counter("jobs_total", help: "Jobs.")
        jobs.increment(by: 5)
        jobs.increment(by: -3)
        jobs.increment(by: .min)
        jobs.increment(by: 0)
        #expect(jobs.value == 5)
        #expect(bench.writer.droppedUpdates == 2)
        #expect(bench.log.messages == ["warning: metric update ignored: a counter cannot fall [jobs_total]"])
        #expect(bench.render().contains("muster_metrics_dropped_updates_total 2\n"))
    }

    @Test("A floating point counter takes finite amounts only")
    func floatingPointCounter() throws {
        let bench = try MetricBench()
        let spent = try bench.registry.floatingPointCounter("spent_seconds_total", help: "Spent.", unit: .seconds)
        for amount in [0.25, -1, .nan, .infinity, -.infinity, 0.5, 0] { spent.increment(by: amount) }
        #expect(spent.value == 0.75)
        #expect(bench.writer.droppedUpdates == 4)
        #expect(bench.reader.value(of: "spent_seconds_total") == 0.75)
    }

    @Test("A gauge is absent until it is set and after it is cleared")
    func gauge() throws {
        let bench = try MetricBench()
        let depth = try bench.registry.gauge("depth", help: "Depth.")
        #expect(depth.value == nil)
        #expect(bench.text() == "")
        depth.increment()
        depth.add(2.5)
        depth.decrement()
        #expect(depth.value == 2.5)
        #expect(bench.text().hasSuffix("\ndepth 2.5\n"))
        depth.add(.nan)
        #expect(depth.value == 2.5)
        depth.clear()
        #expect(depth.value == nil)
        #expect(bench.text() == "")
        depth.increment()
        #expect(depth.value == 1)
        depth.set(-.infinity)
        #expect(bench.text().hasSuffix("\ndepth -Inf\n"))
    }

    @Test("An observation falls into the first bucket whose bound is not below it")
    func histogram() throws {
        let bench = try MetricBench()
        let wait = try bench.registry.histogram(
            "wait_seconds", help: "Wait.", unit: .seconds, buckets: HistogramBuckets([-1, 0, 0.1, 1]))
        for value in [-2, -1, -0.5, 0, 0.1, 0.1.nextUp, 1, 1.5, 1e300] { wait.observe(value) }
        var snapshot = wait.snapshot()
        #expect(snapshot.bucketCounts == [2, 2, 1, 2, 2])
        #expect(snapshot.bounds == [-1, 0, 0.1, 1])
        #expect(snapshot.count == 9)
        #expect(snapshot.sum == 1e300)
        for value in [Double.nan, .infinity, -.infinity] { wait.observe(value) }
        snapshot = wait.snapshot()
        #expect(snapshot.count == 9 && snapshot.sum == 1e300)
        #expect(bench.reader.histogram(of: "wait_seconds") == snapshot)
        #expect(bench.reader.histogram(of: "wait") == nil)
        #expect(bench.writer.droppedUpdates == 3)
        #expect(bench.log.messages.count == 1)
    }

    @Test(
        "Durations are observed in seconds",
        arguments: [
            (Duration.milliseconds(250), 0.25), (.zero, 0), (.seconds(90), 90), (.nanoseconds(1), 1e-9),
            (.milliseconds(-500), -0.5), (.seconds(1 << 40), Double(1 << 40)), (.microseconds(-1), -1e-6),
        ])
    func durations(duration: Duration, seconds: Double) throws {
        let wait = try MetricRegistry.discarding().histogram("wait_seconds", help: "Wait.")
        wait.observe(duration)
        #expect(wait.snapshot().sum == seconds)
        #expect(wait.snapshot().count == 1)
    }

    @Test("Every bucket of every size is found", arguments: 1...40)
    func buckets(count: Int) throws {
        let buckets = try HistogramBuckets.linear(start: 1, width: 1, count: count)
        let wait = try MetricRegistry.discarding().histogram("wait", help: "Wait.", buckets: buckets)
        for bucket in 0...count { wait.observe(Double(bucket) + 0.5) }
        #expect(wait.snapshot().bucketCounts == [UInt64](repeating: 1, count: count + 1))
    }

    @Test("A family refuses series beyond its limit, and goes on with those it has")
    func seriesLimit() throws {
        let bench = try MetricBench()
        let jobs = try bench.registry.counterFamily("jobs_total", help: "Jobs.", labelNames: ["kind"], seriesLimit: 2)
        for kind in ["a", "b", "c", "a", "d"] { jobs.labels(kind).increment() }
        #expect(bench.reader.seriesCount == 2)
        #expect(bench.reader.value(of: "jobs_total", labels: [(name: "kind", value: "a")]) == 2)
        #expect(bench.writer.droppedSeries == 2)
        #expect(bench.log.messages.count == 1)
        #expect(bench.log.messages[0].contains("limit of 2 series"))
    }

    @Test("A wrong number of label values or an endless one is refused, whatever the type")
    func wrongLabels() throws {
        let bench = try MetricBench()
        let registry = bench.registry
        try registry.counterFamily("a_total", help: "A.", labelNames: ["x"]).labels("1", "2").increment()
        try registry.floatingPointCounterFamily("b_total", help: "B.", labelNames: ["x"]).labels().increment(by: 1)
        try registry.gaugeFamily("c", help: "C.", labelNames: []).labels("1").set(1)
        try registry.histogramFamily("d", help: "D.", labelNames: ["x"]).labels([]).observe(1)
        try registry.counterFamily("e_total", help: "E.", labelNames: ["x"])
            .labels(String(repeating: "x", count: 5000)).increment()
        #expect(bench.reader.seriesCount == 0)
        #expect(bench.writer.droppedSeries == 5)
        #expect(bench.log.messages.count == 5)
        #expect(bench.text() == "")
    }

    @Test("Metrics that contradict each other are refused, and the first one goes on")
    func clashes() throws {
        let bench = try MetricBench()
        let registry = bench.registry
        let jobs = try registry.counterFamily("jobs_total", help: "Jobs.", labelNames: ["kind"])
        #expect(
            throws: MetricError.clash(name: "jobs_total", difference: #"it is registered with the labels ["kind"]"#)
        ) {
            try registry.counterFamily("jobs_total", help: "Jobs.", labelNames: ["sort"])
        }
        #expect(throws: MetricError.clash(name: "jobs_total", difference: "it is registered as an integer counter")) {
            try registry.floatingPointCounterFamily("jobs_total", help: "Jobs.", labelNames: ["kind"])
        }
        #expect(throws: MetricError.clash(name: "jobs", difference: "it is registered as the counter jobs_total")) {
            try registry.gauge("jobs", help: "Jobs.")
        }
        _ = try registry.histogram("wait_seconds", help: "Wait.", buckets: .seconds)
        #expect(throws: MetricError.self) {
            try registry.histogram("wait_seconds", help: "Wait.", buckets: .lateness)
        }
        #expect(throws: MetricError.clash(name: "wait_seconds", difference: "it is registered with no unit")) {
            try registry.histogram("wait_seconds", help: "Wait.", unit: .seconds)
        }
        jobs.labels("a").increment()
        #expect(bench.reader.value(of: "jobs_total", labels: [(name: "kind", value: "a")]) == 1)
        #expect(bench.reader.families.count == 2)
    }

    @Test(
        "Names that Prometheus or OpenMetrics would not take are refused",
        arguments: [
            "", "9lives_total", "a-b_total", "a.b_total", "grün_total", "a:b_total", "a b_total", "jobs", "_total",
            "x_count_total", "x_bucket_total", "x_total_total", "x_created_total", "jobs_total\n",
            "muster_metrics_dropped_series_total", String(repeating: "x", count: 600) + "_total",
        ])
    func invalidCounterNames(name: String) throws {
        let registry = MetricRegistry.discarding()
        #expect {
            try registry.counter(name, help: "Help.")
        } throws: {
            if case MetricError.invalidName = $0 { !"\($0)".isEmpty } else { false }
        }
    }

    @Test(
        "Reserved endings are refused for the other types",
        arguments: ["x_total", "x_sum", "x_count", "x_info", "x_gsum"])
    func invalidGaugeNames(name: String) throws {
        let registry = MetricRegistry.discarding()
        #expect(throws: MetricError.self) { try registry.gauge(name, help: "Help.") }
        #expect(throws: MetricError.self) { try registry.histogram(name, help: "Help.") }
    }

    @Test(
        "Label names that are reserved or malformed are refused",
        arguments: [["le"], ["quantile"], ["__name__"], ["a-b"], [""], ["1a"], ["a", "a"], ["ä"]])
    func invalidLabels(names: [String]) throws {
        #expect {
            try MetricRegistry.discarding().counterFamily("jobs_total", help: "Jobs.", labelNames: names)
        } throws: {
            if case MetricError.invalidLabelName = $0 { true } else { false }
        }
    }

    @Test("Too many labels are refused")
    func tooManyLabels() throws {
        let names = (0..<33).map { "label\($0)" }
        #expect(throws: MetricError.self) {
            try MetricRegistry.discarding().gaugeFamily("depth", help: "Depth.", labelNames: names)
        }
        let most = try MetricRegistry.discarding().gaugeFamily("depth", help: "", labelNames: Array(names.dropLast()))
        most.labels(Array(names.dropLast())).set(1)
    }

    @Test("A unit must end the name, before _total")
    func units() throws {
        let registry = MetricRegistry.discarding()
        _ = try registry.counter("read_bytes_total", help: "Read.", unit: .bytes)
        _ = try registry.gauge("used_ratio", help: "Used.", unit: .ratio)
        _ = try registry.gauge("width_furlongs", help: "Width.", unit: MetricUnit("furlongs"))
        for unit in [MetricUnit.seconds, MetricUnit(""), MetricUnit("a b")] {
            #expect(throws: MetricError.self) { try registry.counter("sent_bytes_total", help: "Sent.", unit: unit) }
        }
        #expect {
            try registry.counter("wait_total", help: "Wait.", unit: .seconds)
        } throws: {
            "\($0)".contains("wait_seconds_total")
        }
    }

    @Test("Information takes its name with or without the ending, and vanishes with its process")
    func info() throws {
        let bench = try MetricBench()
        try bench.registry.info("build", help: "Build.", labels: [(name: "version", value: "1")])
        try bench.registry.info("build_info", help: "Build.", labels: [(name: "version", value: "2")])
        #expect(bench.text().hasSuffix("build_info{version=\"1\"} 1\nbuild_info{version=\"2\"} 1\n"))
        #expect(throws: MetricError.self) {
            try bench.registry.info(
                "build", help: "", labels: [(name: "version", value: String(repeating: "x", count: 5000))])
        }
        let next = try bench.nextGeneration()
        try next.registry.info("build", help: "Build.", labels: [(name: "version", value: "2")])
        #expect(next.text().hasSuffix("# TYPE build_info gauge\nbuild_info{version=\"2\"} 1\n"))
    }

    @Test("Bucket bounds are checked")
    func bucketBounds() throws {
        for bounds in [[], [1, 1], [2, 1], [.nan], [1, .infinity], (0...200).map(Double.init)] as [[Double]] {
            #expect(throws: MetricError.self, "\(bounds)") { try HistogramBuckets(bounds) }
        }
        #expect(try HistogramBuckets.linear(start: 1, width: 0.5, count: 3).bounds == [1, 1.5, 2])
        #expect(try HistogramBuckets.exponential(start: 1, factor: 2, count: 4).bounds == [1, 2, 4, 8])
        #expect(throws: MetricError.self) { try HistogramBuckets.linear(start: 0, width: 0, count: 2) }
        #expect(throws: MetricError.self) { try HistogramBuckets.linear(start: 0, width: 1, count: .max) }
        #expect(throws: MetricError.self) { try HistogramBuckets.linear(start: 0, width: 1, count: -1) }
        #expect(throws: MetricError.self) { try HistogramBuckets.exponential(start: 0, factor: 2, count: 2) }
        #expect(throws: MetricError.self) { try HistogramBuckets.exponential(start: 1e308, factor: 10, count: 3) }
        for preset in [HistogramBuckets.seconds, .general] { #expect(try HistogramBuckets(preset.bounds) == preset) }
        for preset in [HistogramBuckets.preciseSeconds, .lateness] {
            #expect(try HistogramBuckets(preset.bounds) != preset)
            #expect(try HistogramBuckets(preset.bounds).precise() == preset)
        }
        #expect(HistogramBuckets.lateness.bounds.first == 1e-5 && HistogramBuckets.lateness.bounds.last == 10)
    }

    @Test("Updates from several threads while a reader renders lose nothing and never contradict themselves")
    func concurrency() async throws {
        let bench = try MetricBench()
        let jobs = try bench.registry.counter("jobs_total", help: "Jobs.")
        let spent = try bench.registry.floatingPointCounter("spent_total", help: "Spent.")
        let depth = try bench.registry.gauge("depth", help: "Depth.")
        let wait = try bench.registry.histogram("wait_seconds", help: "Wait.", buckets: HistogramBuckets([1, 2, 3]))
        let kinds = try bench.registry.counterFamily("kinds_total", help: "Kinds.", labelNames: ["kind"])
        let running = Locked(4)
        let threads = AsyncStream<Void>.makeStream()
        for thread in 0..<4 {
            try NativeThread.start(name: "updates") {
                for round in 0..<5_000 {
                    jobs.increment()
                    spent.increment(by: 0.5)
                    depth.increment()
                    wait.observe(Double(round % 5))
                    kinds.labels("\(thread)-\(round % 100)").increment()
                }
                if running.withLock({
                    $0 -= 1; return $0
                }) == 0 {
                    threads.continuation.finish()
                }
            }
        }
        var renderings = 0
        repeat {
            let text = bench.exposition.text(.openMetrics)
            #expect(text.hasSuffix("# EOF\n"))
            func value(_ prefix: String) -> Substring? {
                text.split(separator: "\n").first { $0.hasPrefix(prefix) }?.split(separator: " ").last
            }
            #expect(value("wait_seconds_count") == value(#"wait_seconds_bucket{le="+Inf"}"#))
            renderings += 1
        } while running.withLock({ $0 }) > 0
        for await _ in threads.stream {}
        #expect(jobs.value == 20_000)
        #expect(spent.value == 10_000)
        #expect(depth.value == 20_000)
        #expect(wait.snapshot().bucketCounts == [8_000, 4_000, 4_000, 4_000])
        #expect(wait.snapshot().sum == 40_000)
        #expect(bench.reader.seriesCount == 404)
        #expect(bench.reader.value(of: "kinds_total", labels: [(name: "kind", value: "3-99")]) == 50)
        #expect(renderings > 0)
    }
}
