// SPDX-License-Identifier: Apache-2.0

import MusterMetrics
import MusterPlatform
import Testing

@Suite("Exposition")
struct ExpositionTests {
    private static func fill(_ registry: MetricRegistry) throws {
        let jobs = try registry.counterFamily("jobs_total", help: "Jobs \\ done\n\"well\".", labelNames: ["kind"])
        jobs.labels("b").increment(by: 2)
        jobs.labels("a").increment()
        try registry.gauge("used_ratio", help: "Used.", unit: .ratio).set(0.25)
        let wait = try registry.histogram(
            "wait_seconds", help: "Wait.", unit: .seconds, buckets: HistogramBuckets([0.005, 1, 2_500_000]))
        for value in [0.001, 0.5, 2, 1e7] { wait.observe(value) }
        try registry.info("build", help: "Build.", labels: [(name: "version", value: "1.2")])
        try registry.floatingPointCounter("cpu_seconds_total", help: "CPU.", unit: .seconds).increment(by: 1.5)
    }

    @Test("The whole text in format 0.0.4")
    func text() throws {
        let bench = try MetricBench(constantLabels: [
            (name: "worker", value: "0"), (name: "worker_group", value: "demo"),
        ])
        try Self.fill(bench.registry)
        #expect(
            bench.render() == #"""
                # HELP build_info Build.
                # TYPE build_info gauge
                build_info{worker="0",worker_group="demo",version="1.2"} 1
                # HELP cpu_seconds_total CPU.
                # TYPE cpu_seconds_total counter
                cpu_seconds_total{worker="0",worker_group="demo"} 1.5
                # HELP jobs_total Jobs \\ done\n"well".
                # TYPE jobs_total counter
                jobs_total{worker="0",worker_group="demo",kind="b"} 2
                jobs_total{worker="0",worker_group="demo",kind="a"} 1
                # HELP muster_metrics_dropped_series_total Series dropped because the arena was full or their family had reached its limit.
                # TYPE muster_metrics_dropped_series_total counter
                muster_metrics_dropped_series_total{worker="0",worker_group="demo"} 0
                # HELP muster_metrics_dropped_updates_total Updates dropped: decrements of counters and values that are not finite.
                # TYPE muster_metrics_dropped_updates_total counter
                muster_metrics_dropped_updates_total{worker="0",worker_group="demo"} 0
                # HELP used_ratio Used.
                # TYPE used_ratio gauge
                used_ratio{worker="0",worker_group="demo"} 0.25
                # HELP wait_seconds Wait.
                # TYPE wait_seconds histogram
                wait_seconds_bucket{worker="0",worker_group="demo",le="0.005"} 1
                wait_seconds_bucket{worker="0",worker_group="demo",le="1.0"} 2
                wait_seconds_bucket{worker="0",worker_group="demo",le="2.5e+06"} 3
                wait_seconds_bucket{worker="0",worker_group="demo",le="+Inf"} 4
                wait_seconds_sum{worker="0",worker_group="demo"} 10000002.501
                wait_seconds_count{worker="0",worker_group="demo"} 4

                """#)
    }

    @Test("The whole text in OpenMetrics")
    func openMetrics() throws {
        let bench = try MetricBench()
        try Self.fill(bench.registry)
        #expect(
            bench.text(.openMetrics).split(separator: "\n").joined(separator: "\n") == #"""
                # TYPE build info
                # HELP build Build.
                build_info{version="1.2"} 1
                # TYPE cpu_seconds counter
                # UNIT cpu_seconds seconds
                # HELP cpu_seconds CPU.
                cpu_seconds_total 1.5
                # TYPE jobs counter
                # HELP jobs Jobs \\ done\n\"well\".
                jobs_total{kind="b"} 2
                jobs_total{kind="a"} 1
                # TYPE used_ratio gauge
                # UNIT used_ratio ratio
                # HELP used_ratio Used.
                used_ratio 0.25
                # TYPE wait_seconds histogram
                # UNIT wait_seconds seconds
                # HELP wait_seconds Wait.
                wait_seconds_bucket{le="0.005"} 1
                wait_seconds_bucket{le="1.0"} 2
                wait_seconds_bucket{le="2.5e+06"} 3
                wait_seconds_bucket{le="+Inf"} 4
                wait_seconds_sum 10000002.501
                wait_seconds_count 4
                # EOF
                """#)
    }

    @Test("Workers' families are merged under one head, sources in their order")
    func merge() throws {
        let first = try MetricBench()
        let second = try MetricBench()
        for (bench, count) in [(first, 1), (second, 2)] {
            try bench.registry.counter("jobs_total", help: "Jobs.").increment(by: count)
        }
        try second.registry.gauge("depth", help: "Depth.").set(4)
        let exposition = Exposition(sources: [
            ArenaSource(reader: first.reader, constantLabels: [(name: "worker", value: "0")])
        ])
        exposition.add(ArenaSource(reader: second.reader, constantLabels: [(name: "worker", value: "1")]))
        exposition.add(
            CollectorSource {
                [
                    CollectedFamily(FamilyDescriptor(name: "jobs_total", type: .counter, help: "Other."), value: 9),
                    CollectedFamily(FamilyDescriptor(name: "absent", type: .gauge, help: "Absent."), samples: []),
                    CollectedFamily(
                        FamilyDescriptor(name: "alpha", type: .gauge, help: ""),
                        samples: [(labels: [(name: "x", value: "1")], value: 0.5), (labels: [], value: -2)]),
                ]
            })
        #expect(
            exposition.text(.text, names: ["jobs", "depth", "alpha", "absent"]) == """
                # TYPE alpha gauge
                alpha{x="1"} 0.5
                alpha -2
                # HELP depth Depth.
                # TYPE depth gauge
                depth{worker="1"} 4
                # HELP jobs_total Jobs.
                # TYPE jobs_total counter
                jobs_total{worker="0"} 1
                jobs_total{worker="1"} 2
                jobs_total 9

                """)
    }

    @Test("Where sources contradict each other the first one stays; the other is left out and logged once")
    func conflicts() throws {
        let log = RecordedLog()
        func source(_ name: String, _ type: MetricType, _ value: Double) -> CollectorSource {
            CollectorSource { [CollectedFamily(FamilyDescriptor(name: name, type: type, help: ""), value: value)] }
        }
        let exposition = Exposition(
            sources: [
                source("a", .gauge, 1), source("a", .counter, 2), source("a", .gauge, 3), source("b", .gauge, 4),
                source("b_total", .counter, 5), source("c-d", .gauge, 6), source("e", .histogram, 7),
            ], logger: log.logger)
        let expected = "# TYPE a gauge\na 1\na 3\n# TYPE b gauge\nb 4\n"
        #expect(exposition.text(.text) == expected)
        #expect(exposition.text(.openMetrics) == expected + "# EOF\n")
        #expect(log.messages.count == 3)
    }

    @Test("A family that shows nothing does not keep another one from its name")
    func emptyFamilyFreesName() throws {
        let bench = try MetricBench()
        _ = try bench.registry.gauge("jobs", help: "Never set.")
        bench.exposition.add(
            CollectorSource {
                [CollectedFamily(FamilyDescriptor(name: "jobs_total", type: .counter, help: ""), value: 1)]
            })
        #expect(bench.text(.openMetrics) == "# TYPE jobs counter\njobs_total 1\n# EOF\n")
    }

    @Test("A collector's malformed labels are left out, the sample stays")
    func malformedCollectorLabels() throws {
        let exposition = Exposition(sources: [
            CollectorSource {
                [
                    CollectedFamily(
                        FamilyDescriptor(name: "a", type: .gauge, help: "A."),
                        samples: [
                            (
                                labels: [
                                    (name: "a b", value: "1"), (name: "ok", value: "x"), (name: "ok", value: "y"),
                                    (name: "le", value: "1"),
                                ], value: .nan
                            )
                        ])
                ]
            }
        ])
        #expect(exposition.text(.text) == "# HELP a A.\n# TYPE a gauge\na{ok=\"x\"} NaN\n")
    }

    @Test("Families can be chosen by either name")
    func names() throws {
        let bench = try MetricBench()
        try Self.fill(bench.registry)
        for name in ["cpu_seconds", "cpu_seconds_total"] {
            #expect(
                bench.render(.text, names: [name])
                    == "# HELP cpu_seconds_total CPU.\n# TYPE cpu_seconds_total counter\ncpu_seconds_total 1.5\n")
        }
        #expect(bench.render(.openMetrics, names: ["build_info"]) == bench.render(.openMetrics, names: ["build"]))
        #expect(bench.render(.text, names: ["nothing"]) == "")
        #expect(bench.render(.openMetrics, names: ["nothing"]) == "# EOF\n")
    }

    @Test("A label of the arena gives way to a constant label of its name")
    func exportedLabels() throws {
        let bench = try MetricBench(constantLabels: [(name: "worker", value: "0"), (name: "bad name", value: "x")])
        let family = try bench.registry.gaugeFamily("depth", help: "", labelNames: ["worker", "exported_worker"])
        family.labels("mine", "other").set(1)
        #expect(
            bench.text()
                == "# TYPE depth gauge\ndepth{worker=\"0\",exported_exported_worker=\"mine\",exported_worker=\"other\"} 1\n"
        )
        #expect(bench.log.messages.count == 1)
    }

    @Test("The buffer's content is replaced and its memory used again")
    func buffer() throws {
        let bench = try MetricBench()
        try Self.fill(bench.registry)
        let memory = GrowingBytes()
        Array("rubbish".utf8).withUnsafeBufferPointer { memory.replace(with: $0) }
        bench.exposition.render(.text, into: memory)
        let first = memory.withBytes { Array($0) }
        let address = memory.pointer
        for _ in 0..<3 { bench.exposition.render(.text, into: memory) }
        #expect(memory.withBytes { Array($0) } == first)
        #expect(first == bench.bytes(.text) && memory.pointer == address)
    }

    @Test("Series that appear between scrapes join, in the order of their registration")
    func incremental() throws {
        let bench = try MetricBench()
        let family = try bench.registry.counterFamily("jobs_total", help: "", labelNames: ["kind"])
        for kind in ["z", "m", "a"] {
            family.labels(kind).increment()
            #expect(bench.text().contains("jobs_total{kind=\"\(kind)\"} 1\n"))
        }
        try bench.registry.gauge("alpha", help: "").set(1)
        let lines = bench.text().split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(
            lines == ["alpha 1", "jobs_total{kind=\"z\"} 1", "jobs_total{kind=\"m\"} 1", "jobs_total{kind=\"a\"} 1"])
    }

    @Test("The content types are those of the formats")
    func contentTypes() {
        #expect(ExpositionFormat.text.contentType == "text/plain; version=0.0.4; charset=utf-8")
        #expect(
            ExpositionFormat.openMetrics.contentType
                == "application/openmetrics-text; version=1.0.0; charset=utf-8")
    }
}
