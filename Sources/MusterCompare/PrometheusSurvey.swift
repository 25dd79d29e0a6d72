// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// Collects evidence from Prometheus: two sides over one window.
package struct PrometheusSurvey {
    /// Why there is nothing to compare.
    package enum Problem: Error, Hashable, Sendable, CustomStringConvertible {
        case prometheus(PrometheusProblem)
        case noData(selector: String)
        case noLabel(String, known: [String])
        case oneSide(by: String, only: String)
        case noSuchSide(String, by: String, known: [String])
        case manySides(by: String, known: [String])
        case shortWindow(window: Double, scrapes: Int, needed: Double)

        package var description: String {
            switch self {
            case .prometheus(let problem): return "\(problem)"
            case .noData(let selector):
                return """
                    no data: there is no muster_worker_up\(selector) in the window; does Prometheus scrape the service's \
                    endpoint, and is --selector right?
                    """
            case .noLabel(let label, let known):
                return "no series has the label '\(label)'; there are: \(known.joined(separator: ", "))"
            case .oneSide(let by, let only):
                return """
                    one side only: every worker has \(by) \(only); deploy a second one, or workers with another \
                    \(by), as the demo's --canary-backend and --canary-percent do
                    """
            case .noSuchSide(let side, let by, let known):
                return "no worker has \(by) \(side); there are: \(known.joined(separator: ", "))"
            case .manySides(let by, let known):
                return """
                    there are more than two values of \(by): \(known.joined(separator: ", ")); name two with --baseline \
                    and --candidate
                    """
            case .shortWindow(let window, let scrapes, let needed):
                return """
                    too few points: \(PlainText.duration(window) ?? "the window") holds \(scrapes) scrapes; use \
                    --window \(Int((needed / 60).rounded(.up)))m or longer
                    """
            }
        }
    }

    /// So many stretches a unit's time is divided into at most, and at least.
    private static let blocks = (most: 40.0, fewest: 8.0)
    /// So many scrapes a stretch has at least: an increase needs two, and its ends are extrapolated.
    private static let scrapes = 4.0
    private static let identity = ["job", "instance", "namespace", "pod", "worker_group", "worker"]

    private let selector: String
    private let by: String
    private let asked: (baseline: String?, candidate: String?)
    private let window: Double
    private let end: Double
    private let measures: [Measure]
    private let fetch: (PrometheusQuery) throws(PrometheusProblem) -> [PrometheusSeries]

    /// - Parameters:
    ///   - selector: Matchers of labels, without braces.
    ///   - by: What the sides differ in: `backend`, `version` (of Muster), or a label of the targets.
    ///   - end: When the window ends, as seconds since 1970.
    package init(
        selector: String, by: String, baseline: String?, candidate: String?, window: Double, end: Double,
        measures: [Measure],
        fetch: @escaping (PrometheusQuery) throws(PrometheusProblem) -> [PrometheusSeries]
    ) {
        self.selector = selector
        self.by = by
        asked = (baseline, candidate)
        self.window = window
        self.end = end
        self.measures = measures
        self.fetch = fetch
    }

    /// Asks everything.
    ///
    /// - Throws: ``Problem``.
    package func evidence() throws(Problem) -> Evidence {
        let step = try step()
        let times = stride(from: end - window + step, through: end + 1e-6, by: step).map {
            ($0 * 1000).rounded() / 1000
        }
        let presence = try range("count_over_time(muster_worker_up{\(selector)}[\(text(step))])", times, step)
        let sides = try sides(presence, step, times)
        let names = try chosen(sides)
        var evidence = Evidence(
            method: .workers, by: by, setting: setting(step, times.count),
            baseline: Evidence.Side(name: names.0), candidate: Evidence.Side(name: names.1), measured: [], notes: [])

        // What each worker's stretches hold; those that were scraped too seldom are missing.
        let expected = presence.flatMap(\.values.values).max() ?? 0
        var blocks: [Worker: [Double: Block]] = [:]
        for series in presence {
            let worker = Worker(series.labels)
            for (time, count) in series.values where count >= expected / 2 {
                blocks[worker, default: [:]][time] = Block(seconds: step)
            }
        }
        for metric in Set(measures.flatMap(\.metrics)).sorted(by: { $0.name < $1.name }) {
            try collect(metric, step, times, &blocks)
        }
        let byside = [names.0, names.1].map { name in
            blocks.filter { sides[$0.key] == [name] }.sorted { $0.key < $1.key }.map(\.value)
        }
        evidence.method = byside.allSatisfy { $0.count >= Judge.fewestUnits } ? .workers : .stretches
        evidence.baseline.workers = [byside[0].count]
        evidence.candidate.workers = [byside[1].count]
        evidence.measured = measures.map { measure in
            Evidence.Measured(
                quantity: measure.quantity, baseline: values(measure, byside[0], evidence.method, times),
                candidate: values(measure, byside[1], evidence.method, times))
        }
        .filter { !$0.baseline.units.isEmpty || !$0.candidate.units.isEmpty }
        try describe(&evidence, sides, byside, times, step)
        return evidence
    }

    // MARK: Workers and sides

    /// A worker, by the labels that tell it from others.
    private struct Worker: Hashable, Comparable {
        let labels: [String]

        init(_ labels: [String: String]) {
            self.labels = PrometheusSurvey.identity.map { labels[$0] ?? "" }
        }

        /// The process that serves the endpoint, which knows neither group nor worker.
        var endpoint: Worker { Worker(labels: Array(labels.dropLast(2)) + ["", ""]) }

        private init(labels: [String]) { self.labels = labels }

        static func < (left: Worker, right: Worker) -> Bool { left.labels.lexicographicallyPrecedes(right.labels) }
    }

    /// The sides that each worker was on: one, unless it changed within the window.
    private func sides(
        _ presence: [PrometheusSeries], _ step: Double, _ times: [Double]
    ) throws(Problem) -> [Worker: Set<String>] {
        var result: [Worker: Set<String>] = [:]
        let info = ["backend": "muster_backend_info", "version": "muster_build_info"][by]
        guard let info else {
            for series in presence {
                if let side = series.labels[by] { result[Worker(series.labels), default: []].insert(side) }
            }
            guard !result.isEmpty else {
                throw .noLabel(by, known: Set(presence.flatMap(\.labels.keys)).sorted())
            }
            return result
        }
        let known = try range("count_over_time(\(info){\(selector)}[\(text(step))])", times, step)
        var named: [Worker: Set<String>] = [:]
        for series in known {
            if let side = series.labels[by] { named[Worker(series.labels), default: []].insert(side) }
        }
        for series in presence {
            let worker = Worker(series.labels)
            result[worker] = named[worker] ?? named[worker.endpoint]
        }
        return result
    }

    private func chosen(_ sides: [Worker: Set<String>]) throws(Problem) -> (String, String) {
        let known = Set(sides.values.flatMap { $0 }).sorted()
        guard !known.isEmpty else { throw .noLabel(by, known: []) }
        for side in [asked.baseline, asked.candidate] {
            if let side, !known.contains(side) {
                if known.count == 1 { throw .oneSide(by: by, only: known[0]) }
                throw .noSuchSide(side, by: by, known: known)
            }
        }
        switch (asked.baseline, asked.candidate) {
        case (let baseline?, let candidate?): return (baseline, candidate)
        case _ where known.count == 1: throw .oneSide(by: by, only: known[0])
        case _ where known.count > 2: throw .manySides(by: by, known: known)
        case (let baseline?, nil): return (baseline, known.first { $0 != baseline } ?? "")
        case (nil, let candidate?): return (known.first { $0 != candidate } ?? "", candidate)
        default: return (known[0], known[1])
        }
    }

    // MARK: Values

    private func collect(
        _ metric: Measure.Metric, _ step: Double, _ times: [Double], _ blocks: inout [Worker: [Double: Block]]
    ) throws(Problem) {
        let keys = Self.identity.joined(separator: ", ")
        let matchers = "{\(selector)}"
        let span = "[\(text(step))]"
        func each(_ series: [PrometheusSeries], _ add: (inout Block, Double) -> Void) {
            for series in series {
                for (time, value) in series.values { change(Worker(series.labels), time) { add(&$0, value) } }
            }
        }
        func change(_ worker: Worker, _ time: Double, _ change: (inout Block) -> Void) {
            let time = (time * 1000).rounded() / 1000
            guard var block = blocks[worker]?[time] else { return }
            change(&block)
            blocks[worker]?[time] = block
        }
        switch metric.kind {
        case .counter:
            let query = "sum by (\(keys)) (increase(\(metric.name)\(matchers)\(span)))"
            each(try range(query, times, step)) { $0.increases[metric.name] = $1 }
        case .gauge:
            let function = Block.largest.contains(metric.name) ? "max" : "sum"
            let query = "\(function) by (\(keys)) (avg_over_time(\(metric.name)\(matchers)\(span)))"
            each(try range(query, times, step)) { $0.addGauge(metric.name, $1) }
        case .histogram:
            let native = try range("sum by (\(keys)) (increase(\(metric.name)\(matchers)\(span)))", times, step)
            for series in native {
                for (time, buckets) in series.histograms {
                    change(Worker(series.labels), time) { $0.histograms[metric.name] = buckets }
                }
            }
            if native.contains(where: { !$0.histograms.isEmpty }) { return }
            var cumulative: [Worker: [Double: [(bound: Double, count: Double)]]] = [:]
            let query = "sum by (\(keys), le) (increase(\(metric.name)_bucket\(matchers)\(span)))"
            for series in try range(query, times, step) {
                guard let text = series.labels["le"], let bound = text == "+Inf" ? .infinity : Double(text) else {
                    continue
                }
                for (time, count) in series.values {
                    cumulative[Worker(series.labels), default: [:]][time, default: []].append((bound, count))
                }
            }
            let sums = try range("sum by (\(keys)) (increase(\(metric.name)_sum\(matchers)\(span)))", times, step)
            for series in sums {
                for (time, sum) in series.values {
                    guard let counts = cumulative[Worker(series.labels)]?[time] else { continue }
                    change(Worker(series.labels), time) {
                        $0.histograms[metric.name] = Buckets(cumulative: counts, sum: sum)
                    }
                }
            }
        }
    }

    private func values(
        _ measure: Measure, _ workers: [[Double: Block]], _ method: Evidence.Method, _ times: [Double]
    ) -> Evidence.Values {
        func observations(_ worker: [Double: Block], _ times: some Sequence<Double>) -> [Observation] {
            measure.observations(times.compactMap { worker[$0] })
        }
        guard method == .stretches else { return Evidence.Values(workers.map { observations($0, times) }) }
        let size = max(2, times.count / 10)
        return Evidence.Values(
            stride(from: 0, to: times.count, by: size).map { start in
                workers.flatMap { observations($0, times[start..<min(times.count, start + size)]) }
            })
    }

    // MARK: What else there is to know

    private func describe(
        _ evidence: inout Evidence, _ sides: [Worker: Set<String>], _ byside: [[[Double: Block]]], _ times: [Double],
        _ step: Double
    ) throws(Problem) {
        let changed = sides.filter { $0.value.count > 1 }
        if !changed.isEmpty {
            evidence.notes.append(
                """
                the window goes across a deployment: \(PlainText.count(changed.count, "worker")) changed its \(by) within \
                it and is left out; choose a window after it with --window or --end
                """)
        }
        let span = "[\(text(window))]"
        let versions = try instant("count_over_time(muster_build_info{\(selector)}\(span))")
        let backends = try instant("count_over_time(muster_backend_info{\(selector)}\(span))")
        let restarts = try instant("increase(muster_worker_restarts_total{\(selector)}\(span))")
        let flaps = try instant("changes(muster_health_check_status{\(selector)}\(span))")
        func update(_ side: inout Evidence.Side, _ workers: [[Double: Block]]) {
            let own = sides.filter { $0.value == [side.name] }.keys
            let endpoints = Set(own.map(\.endpoint))
            func isOwn(_ series: PrometheusSeries) -> Bool {
                let worker = Worker(series.labels)
                return own.contains(worker) || (worker == worker.endpoint && endpoints.contains(worker))
            }
            func list(_ series: [PrometheusSeries], _ label: String) -> [String] {
                Set(series.filter(isOwn).compactMap { $0.labels[label] }).sorted()
            }
            side.versions = list(versions, "version")
            side.backends = list(backends, "backend")
            for series in restarts where isOwn(series) {
                let count = Int((series.values.values.first ?? 0).rounded())
                if count > 0 { side.restarts[series.labels["reason"] ?? "unknown", default: 0] += count }
            }
            side.healthFlaps = Int(flaps.filter(isOwn).compactMap { $0.values.values.first }.reduce(0, +))
            let there = workers.reduce(0) { $0 + $1.count }
            let all = max(1, own.count * times.count)
            side.missing = max(0, 1 - Double(there) / Double(all))
            let isReloaded = side.restarts["reload"] ?? 0 > 0
            let late = workers.count { $0[times[0]] == nil || $0[times[times.count - 1]] == nil }
            if isReloaded || late > 0 {
                let what =
                    isReloaded
                    ? "workers of \(side.name) were reloaded within the window"
                    : "\(late) of \(workers.count) workers of \(side.name) were not there for the whole window"
                evidence.notes.append("\(what): a deployment, a restart or scaling; choose a quieter one with --end")
            }
        }
        update(&evidence.baseline, byside[0])
        update(&evidence.candidate, byside[1])
    }

    private func setting(_ step: Double, _ count: Int) -> [Evidence.Fact] {
        [
            Evidence.Fact("selector", "{\(selector)}"), Evidence.Fact("by", by),
            Evidence.Fact("window", "\(PlainText.duration(window) ?? "-") until \(Self.time(end))"),
            Evidence.Fact("stretches", "\(count) of \(PlainText.duration(step) ?? "-")"),
        ]
    }

    // MARK: Questions

    /// The length of a stretch, by how often Prometheus scrapes.
    private func step() throws(Problem) -> Double {
        let counted = try instant("max(count_over_time(muster_worker_up{\(selector)}[\(text(window))]))")
        guard let count = counted.first?.values.values.first, count > 0 else {
            throw .noData(selector: selector.isEmpty ? "" : "{\(selector)}")
        }
        let spans = try instant(
            """
            max(max_over_time(timestamp(muster_worker_up{\(selector)})[\(text(window)):]) - \
            min_over_time(timestamp(muster_worker_up{\(selector)})[\(text(window)):]))
            """)
        // A service that is younger than the window was scraped for a part of it only.
        let span = spans.first?.values.values.first ?? window
        let interval = max(0.1, min(window, max(span, window / 100)) / count)
        let step = max(1, (max(Self.scrapes * interval, window / Self.blocks.most)).rounded(.up))
        guard (window / step).rounded(.down) >= Self.blocks.fewest else {
            throw .shortWindow(
                window: window, scrapes: Int(count), needed: Self.blocks.fewest * Self.scrapes * interval)
        }
        return step
    }

    private func range(_ query: String, _ times: [Double], _ step: Double) throws(Problem) -> [PrometheusSeries] {
        try ask(
            "query_range", query,
            [.init("start", text(times[0])), .init("end", text(times[times.count - 1])), .init("step", text(step))])
    }

    private func instant(_ query: String) throws(Problem) -> [PrometheusSeries] {
        try ask("query", query, [.init("time", text(end))])
    }

    private func ask(
        _ path: String, _ query: String, _ parameters: [PrometheusQuery.Parameter]
    ) throws(Problem) -> [PrometheusSeries] {
        do {
            return try fetch(PrometheusQuery(path: path, parameters: [.init("query", query)] + parameters))
        } catch {
            throw .prometheus(error)
        }
    }

    /// Seconds: `1700000000.25`; in a selector of ranges without a fraction.
    private func text(_ seconds: Double) -> String {
        seconds >= 1e6
            ? Instant.text(seconds) : "\(Int(seconds.rounded()))s"
    }

    private static func time(_ seconds: Double) -> String { Instant.date(seconds) }
}
