// SPDX-License-Identifier: Apache-2.0

import CoreMetrics
import Metrics
import MusterMetrics
import Testing

@Suite("swift-metrics backend")
struct SwiftMetricsTests {
    private static func factory(_ bench: MetricBench) throws -> MusterMetricsFactory {
        try MusterMetricsFactory(
            registry: bench.registry, timerBuckets: HistogramBuckets([0.1, 1]),
            recorderBuckets: HistogramBuckets([10, 100]), seriesLimit: 3)
    }

    @Test("Every kind of metric is exposed as Prometheus wants it")
    func allKinds() throws {
        let bench = try MetricBench()
        let factory = try Self.factory(bench)
        Counter(label: "http.requests-seen", dimensions: [("status.code", "200")], factory: factory).increment(by: 3)
        FloatingPointCounter(label: "energy", factory: factory).increment(by: 1.5)
        let meter = Meter(label: "pool.size", factory: factory)
        meter.set(5)
        meter.increment(by: 2)
        meter.decrement(by: 0.5)
        Gauge(label: "temperature", factory: factory).record(21.5)
        let sizes = Recorder(label: "response.size", factory: factory)
        sizes.record(7)
        sizes.record(70.5)
        let timer = Metrics.Timer(label: "request-duration", factory: factory)
        timer.recordMilliseconds(250)
        timer.recordSeconds(2)
        #expect(
            bench.text() == """
                # HELP energy_total Recorded through swift-metrics as energy.
                # TYPE energy_total counter
                energy_total 1.5
                # HELP http_requests_seen_total Recorded through swift-metrics as http.requests-seen.
                # TYPE http_requests_seen_total counter
                http_requests_seen_total{status_code="200"} 3
                # HELP pool_size Recorded through swift-metrics as pool.size.
                # TYPE pool_size gauge
                pool_size 6.5
                # HELP request_duration_seconds Recorded through swift-metrics as request-duration.
                # TYPE request_duration_seconds histogram
                request_duration_seconds_bucket{le="0.1"} 0
                request_duration_seconds_bucket{le="1.0"} 1
                request_duration_seconds_bucket{le="+Inf"} 2
                request_duration_seconds_sum 2.25
                request_duration_seconds_count 2
                # HELP response_size Recorded through swift-metrics as response.size.
                # TYPE response_size histogram
                response_size_bucket{le="10.0"} 1
                response_size_bucket{le="100.0"} 2
                response_size_bucket{le="+Inf"} 2
                response_size_sum 77.5
                response_size_count 2
                # HELP temperature Recorded through swift-metrics as temperature.
                # TYPE temperature gauge
                temperature 21.5

                """)
    }

    @Test("Destroying keeps totals and takes gauges away")
    func destroy() throws {
        let bench = try MetricBench()
        let factory = try Self.factory(bench)
        let counter = Counter(label: "jobs", factory: factory)
        counter.increment()
        counter.destroy()
        let spent = FloatingPointCounter(label: "spent", factory: factory)
        spent.increment(by: 1)
        spent.destroy()
        let meter = Meter(label: "depth", factory: factory)
        meter.set(1)
        meter.destroy()
        let gauge = Gauge(label: "heat", factory: factory)
        gauge.record(1)
        gauge.destroy()
        let timer = Metrics.Timer(label: "wait", factory: factory)
        timer.recordSeconds(1)
        timer.destroy()
        let recorder = Recorder(label: "size", factory: factory)
        recorder.record(1)
        recorder.destroy()
        let names = bench.text().split(separator: "\n").filter { $0.hasPrefix("# TYPE") }.map {
            $0.split(separator: " ")[2]
        }
        #expect(names == ["jobs_total", "size", "spent_total", "wait_seconds"])
        Counter(label: "jobs", factory: factory).increment()
        #expect(bench.reader.value(of: "jobs_total") == 2)
    }

    @Test("A reset counter starts again from 0")
    func reset() throws {
        let bench = try MetricBench()
        let factory = try Self.factory(bench)
        let counter = Counter(label: "jobs", factory: factory)
        counter.increment(by: 5)
        counter.reset()
        counter.increment()
        #expect(bench.reader.value(of: "jobs_total") == 1)
        let spent = FloatingPointCounter(label: "spent", factory: factory)
        spent.increment(by: 5)
        spent.reset()
        spent.increment(by: 0.5)
        #expect(bench.reader.value(of: "spent_total") == 0.5)
    }

    @Test("The order of dimensions does not matter")
    func dimensionOrder() throws {
        let bench = try MetricBench()
        let factory = try Self.factory(bench)
        Counter(label: "jobs", dimensions: [("b", "2"), ("a", "1")], factory: factory).increment()
        Counter(label: "jobs", dimensions: [("a", "1"), ("b", "2")], factory: factory).increment()
        #expect(bench.text().hasSuffix("jobs_total{a=\"1\",b=\"2\"} 2\n"))
    }

    @Test("Contradicting metrics go nowhere, logged once and counted; the first one goes on")
    func clash() throws {
        let bench = try MetricBench()
        let factory = try Self.factory(bench)
        Counter(label: "jobs", dimensions: [("a", "1")], factory: factory).increment()
        Counter(label: "jobs", factory: factory).increment()
        Counter(label: "jobs", factory: factory).increment()
        FloatingPointCounter(label: "jobs", factory: factory).increment(by: 1)
        Meter(label: "jobs", factory: factory).set(1)
        Gauge(label: "jobs", factory: factory).record(1)
        Recorder(label: "jobs", factory: factory).record(1)
        Metrics.Timer(label: "jobs", factory: factory).recordSeconds(1)
        Metrics.Timer(label: "jobs", dimensions: [("z", "1")], factory: factory).recordSeconds(1)
        let samples = bench.text().split(separator: "\n").filter { !$0.hasPrefix("#") && !$0.contains("jobs_seconds") }
        #expect(samples == ["jobs_total{a=\"1\"} 1"])
        #expect(bench.writer.droppedSeries == 7)
        #expect(bench.log.messages.count == 4, "\(bench.log.messages)")
    }

    @Test("Labels and dimensions of any text give names that are allowed")
    func sanitising() throws {
        let bench = try MetricBench()
        let factory = try Self.factory(bench)
        for label in ["9 lives", "", "größe", "a:b", "x_count", "already_total", "_total", "😀", "x_total_total"] {
            Counter(label: label, factory: factory).increment()
        }
        Meter(label: "depth_count", factory: factory).set(1)
        Metrics.Timer(label: "wait_seconds", factory: factory).recordSeconds(1)
        Metrics.Timer(label: "wait_seconds_sum", factory: factory).recordSeconds(1)
        Counter(
            label: "labelled",
            dimensions: [("le", "1"), ("__x", "2"), ("a.b", "3"), ("a-b", "4"), ("", "5"), ("1", "6"), ("__", "7")],
            factory: factory
        ).increment()
        Counter(label: String(repeating: "long", count: 1000), factory: factory).increment()
        let samples = bench.text().split(separator: "\n").filter { !$0.hasPrefix("#") && !$0.contains("_bucket") }
            .map(String.init).sorted()
        #expect(
            samples
                == [
                    "_9_lives_total 1", "__total 1", "_total_value_total 1", "a_b_total 1", "already_total 1",
                    "depth_count_value 1", "gr__e_total 1",
                    #"labelled_total{_="7",_1="6",_x="2",a_b="4",a_b_2="3",exported_le="1",label="5"} 1"#,
                    "unnamed_total 1", "wait_seconds_count 1", "wait_seconds_sum 1", "wait_seconds_sum_seconds_count 1",
                    "wait_seconds_sum_seconds_sum 1", "x_count_value_total 1", "x_total_value_total 1",
                ].sorted())
    }

    @Test("Series beyond the limit go nowhere")
    func limit() throws {
        let bench = try MetricBench()
        let factory = try Self.factory(bench)
        for index in 0..<10 {
            Counter(label: "jobs", dimensions: [("id", "\(index)")], factory: factory).increment()
        }
        #expect(bench.reader.seriesCount == 3)
        #expect(bench.writer.droppedSeries == 7)
    }

    @Test("A negative amount does no harm")
    func negative() throws {
        let bench = try MetricBench()
        let handler = try Self.factory(bench).makeCounter(label: "jobs", dimensions: [])
        handler.increment(by: 2)
        handler.increment(by: -1)
        handler.increment(by: .min)
        #expect(bench.reader.value(of: "jobs_total") == 2)
    }
}
