// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// Something that can be compared.
package struct Quantity: Hashable, Codable, Sendable {
    /// What its values are.
    package enum Unit: String, Codable, Sendable {
        case seconds, bytes, perSecond, share, number
    }

    /// Which side is better.
    package enum Direction: String, Codable, Sendable {
        case less, more, neither
    }

    /// What conditions call it: `loop_lateness_p99`.
    package let name: String
    package let title: String
    package let unit: Unit
    package let better: Direction
    /// A smaller difference than this is of no importance, however certain.
    package let floor: Double
    /// Whether it says nothing about a backend once a processor is all that is waited for.
    package let suffersFromSaturation: Bool

    package init(
        _ name: String, _ title: String, _ unit: Unit, better: Direction = .less, floor: Double = 0,
        suffersFromSaturation: Bool = false
    ) {
        self.name = name
        self.title = title
        self.unit = unit
        self.better = better
        self.floor = floor
        self.suffersFromSaturation = suffersFromSaturation
    }

    /// A value as people read it.
    package func text(_ value: Double) -> String {
        switch unit {
        case .seconds: PlainText.duration(value) ?? "-"
        case .bytes: PlainText.bytes(abs(value)).map { value < 0 ? "-" + $0 : $0 } ?? "-"
        case .perSecond: PlainText.number(value) + "/s"
        case .share: PlainText.number(value * 100) + " %"
        case .number: PlainText.number(value)
        }
    }
}

/// A quantity, and how its values are read from a stretch of time.
package struct Measure: Hashable, Sendable {
    package enum Source: Hashable, Sendable {
        case quantile(String, Double)
        case mean(String)
        case largest(String)
        case rate(String)
        case ratio(String, to: String)
        case gauge(String)
    }

    package let quantity: Quantity
    package let source: Source

    /// The value of each stretch; neighbouring ones are joined where one alone has too few observations for a quantile.
    package func observations(_ blocks: [Block]) -> [Observation] {
        guard case .quantile(let name, let q) = source else { return blocks.compactMap(observation) }
        let needed = Self.observationsNeeded(for: q)
        var result: [Block] = []
        var open: Block?
        for block in blocks {
            let joined = open?.merging(block) ?? block
            let isEnough = joined.histograms[name]?.count ?? 0 >= needed
            if isEnough { result.append(joined) }
            open = isEnough ? nil : joined
        }
        if let open, let last = result.popLast() { result.append(last.merging(open)) }
        return result.compactMap(observation)
    }

    /// Five beyond the quantile.
    package static func observationsNeeded(for q: Double) -> Double { (5 / (1 - q)).rounded() }

    private func observation(_ block: Block) -> Observation? {
        switch source {
        case .quantile(let name, let q): return block.histograms[name]?.quantile(q)
        case .mean(let name): return block.histograms[name]?.mean.map { Observation($0) }
        case .largest(let name):
            return block.histograms[name]?.quantile(1).map { Observation($0.high, $0.low, $0.high) }
        case .rate(let name):
            guard block.seconds > 0 else { return nil }
            return block.increases[name].map { Observation($0 / block.seconds) }
        case .ratio(let name, let base):
            guard let count = block.increases[base], count > 0 else { return nil }
            return block.increases[name].map { Observation($0 / count) }
        case .gauge(let name): return block.gauges[name].map { Observation($0) }
        }
    }

    /// The metrics that it is read from, each with its kind.
    package var metrics: [Metric] {
        switch source {
        case .quantile(let name, _), .mean(let name), .largest(let name): [Metric(name: name, kind: .histogram)]
        case .rate(let name): [Metric(name: name, kind: .counter)]
        case .ratio(let name, let base): [Metric(name: name, kind: .counter), Metric(name: base, kind: .counter)]
        case .gauge(let name): [Metric(name: name, kind: .gauge)]
        }
    }

    package struct Metric: Hashable, Sendable {
        package enum Kind: Hashable, Sendable { case counter, gauge, histogram }
        package let name: String
        package let kind: Kind

        package init(name: String, kind: Kind) {
            self.name = name
            self.kind = kind
        }
    }

    // MARK: The catalogue

    /// What is compared without being asked for. Names without `muster_` or `http_` are measured from outside.
    package static let all: [Measure] =
        durations("loop_lateness", "lateness of looping calls", "muster_loop_lateness_seconds", isLate: true)
        + [
            Measure("loop_drift", "drift of looping calls", .seconds, .gauge("muster_loop_drift_seconds"), floor: 1e-3)
        ]
        + durations("loop_run_duration", "duration of runs", "muster_loop_run_duration_seconds")
        + [
            Measure(
                "loop_overruns", "overruns a run", .share,
                .ratio("muster_loop_overruns_total", to: "muster_loop_runs_total"), floor: 0.005),
            Measure(
                "loop_runs", "runs of looping calls", .perSecond, .rate("muster_loop_runs_total"), better: .more),
        ]
        + durations("hub_lag", "hub lag", "muster_hub_lag_seconds", isLate: true)
        + durations("blocking_queue", "wait for a blocking thread", "muster_blocking_pool_queue_seconds", isLate: true)
        + durations("group_queue", "wait for room in a group", "muster_threadgroup_task_queue_seconds", isLate: true)
        + durations("request_duration", "duration of requests", "http_server_request_duration_seconds", isLate: true)
        + [
            Measure("requests", "requests", .perSecond, .rate("http_server_requests_total"), better: .more),
            Measure("load_requests", "requests of the load", .perSecond, .gauge("load_requests"), better: .more),
            Measure(
                "load_latency_mean", "latency, mean, by the load", .seconds, .gauge("load_latency_mean"), isLate: true),
            Measure(
                "load_latency_p50", "latency, p50, by the load", .seconds, .gauge("load_latency_p50"), isLate: true),
            Measure(
                "load_latency_p99", "latency, p99, by the load", .seconds, .gauge("load_latency_p99"), isLate: true),
            Measure(
                "load_latency_max", "latency, max, by the load", .seconds, .gauge("load_latency_max"), isLate: true),
            Measure("load_errors", "failed requests of the load", .share, .gauge("load_errors"), floor: 0.001),
            Measure("cpu", "CPU of the workers", .share, .rate("muster_worker_cpu_seconds_total"), floor: 0.002),
            Measure(
                "cpu_per_run", "CPU a run", .seconds,
                .ratio("muster_worker_cpu_seconds_total", to: "muster_loop_runs_total"), floor: 2e-6),
            Measure(
                "cpu_per_request", "CPU a request", .seconds,
                .ratio("muster_worker_cpu_seconds_total", to: "http_server_requests_total"), floor: 2e-6),
            Measure("memory_pss", "memory (PSS)", .bytes, .gauge("pss_bytes"), floor: 524_288),
            Measure(
                "memory_resident", "resident memory", .bytes, .gauge("muster_worker_resident_memory_bytes"),
                floor: 524_288),
            Measure("threads", "threads", .number, .gauge("muster_worker_threads"), better: .neither, floor: 0.9),
            Measure(
                "context_switches", "context switches", .perSecond, .rate("context_switches"), floor: 5),
            Measure("start_time", "start until ready", .seconds, .gauge("start_seconds"), floor: 2e-3),
            Measure("restart_time", "restart of a killed worker", .seconds, .gauge("restart_seconds"), floor: 2e-3),
        ]

    /// The quantities of one histogram of durations.
    ///
    /// - Parameter isLate: Whether it measures waiting.
    package static func durations(
        _ name: String, _ title: String, _ metric: String, isLate: Bool = false,
        better: Quantity.Direction = .less, unit: Quantity.Unit = .seconds
    ) -> [Measure] {
        let floor = unit == .seconds ? 20e-6 : 0
        func measure(_ suffix: String, _ source: Source) -> Measure {
            Measure(
                "\(name)_\(suffix)", "\(title), \(suffix)", unit, source, better: better, floor: floor, isLate: isLate)
        }
        return [
            measure("mean", .mean(metric)), measure("p50", .quantile(metric, 0.5)),
            measure("p99", .quantile(metric, 0.99)), measure("max", .largest(metric)),
        ]
    }

    /// The measures of an application's own metric.
    package static func own(_ metric: Metric, better: Quantity.Direction) -> [Measure] {
        let unit: Quantity.Unit =
            metric.name.contains("_seconds") ? .seconds : metric.name.contains("_bytes") ? .bytes : .number
        switch metric.kind {
        case .histogram: return durations(metric.name, metric.name, metric.name, better: better, unit: unit)
        case .counter:
            return [Measure(metric.name, metric.name, .perSecond, .rate(metric.name), better: better)]
        case .gauge: return [Measure(metric.name, metric.name, unit, .gauge(metric.name), better: better)]
        }
    }

    private init(
        _ name: String, _ title: String, _ unit: Quantity.Unit, _ source: Source, better: Quantity.Direction = .less,
        floor: Double = 0, isLate: Bool = false
    ) {
        quantity = Quantity(name, title, unit, better: better, floor: floor, suffersFromSaturation: isLate)
        self.source = source
    }
}
