// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterMetrics

/// Puts together what the workers' series say: what each worker runs, and each looping call over the workers of a
/// group that run the same backend.
///
/// Whatever a broken worker has left in its arena, what comes out is bounded, and every number is finite.
struct StatusCollector {
    private struct Key: Hashable {
        var group: String
        var name: String
        var backend: String
    }

    /// How many loops are told apart at most; more are counted only.
    private static let loopLimit = 4 * StatusLimits.loops

    private var loops: [Key: LoopStatus] = [:]
    private var histograms: [Key: HistogramSnapshot] = [:]
    private var seen: Set<Key> = []
    private var beyondLimit = 0
    private var unread = 0
    private(set) var backends: [BackendStatus] = []
    /// The lateness of all runs of all loops.
    private(set) var lateness: HistogramSnapshot?

    /// Takes in the series of one worker.
    ///
    /// - Parameters:
    ///   - reader: Its series.
    ///   - limit: How many of each family are read.
    ///   - worker: What is known of the worker; gets its backend and jobs.
    mutating func add(_ reader: any SeriesReader, limit: Int, to worker: inout WorkerStatus) {
        add(reader.read(StatusFamilies.all, limit: limit), to: &worker)
        // Workers usually have the same loops, so what is not read of one is what is not read of another.
        unread = max(unread, reader.seriesCount(of: StatusFamilies.runs) - limit)
    }

    private mutating func add(_ readings: [SeriesReading], to worker: inout WorkerStatus) {
        seen.removeAll(keepingCapacity: true)
        var jobs: Double?
        for reading in readings {
            switch reading.family {
            case StatusFamilies.backend:
                guard worker.backend == nil, reading.number == 1 else { continue }
                worker.backend = reading["backend"]
                worker.backendSource = reading["source"]
            case StatusFamilies.jobs:
                jobs = (jobs ?? 0) + (reading.number ?? 0)
            default:
                add(reading, group: worker.group)
            }
        }
        worker.jobs = jobs.flatMap { Int(exactly: $0.rounded()) }.map { max(0, $0) }
        if let name = worker.backend { count(name, source: worker.backendSource ?? "") }
    }

    private mutating func count(_ name: String, source: String) {
        if let known = backends.firstIndex(where: { $0.name == name && $0.source == source }) {
            backends[known].workers += 1
        } else if backends.count < 16 {
            backends.append(BackendStatus(name: name, source: source, workers: 1))
        }
    }

    private mutating func add(_ reading: SeriesReading, group: String) {
        guard let name = reading["loop"], let backend = reading["backend"] else { return }
        let key = Key(group: group, name: name, backend: backend)
        if loops[key] == nil {
            guard loops.count < Self.loopLimit else {
                if reading.family == StatusFamilies.runs { beyondLimit += 1 }
                return
            }
            loops[key] = LoopStatus(group: group, name: name, backend: backend)
        }
        if let histogram = reading.histogram {
            if reading.family == StatusFamilies.lateness { add(histogram, to: key) }
            return
        }
        guard let number = reading.number else { return }
        loops[key]?.take(reading.family, number)
        if reading.family == StatusFamilies.runs, number > 0, seen.insert(key).inserted { loops[key]?.workers += 1 }
    }

    private mutating func add(_ histogram: HistogramSnapshot, to key: Key) {
        if histograms[key] == nil { histograms[key] = histogram } else { histograms[key]?.add(histogram) }
        if lateness == nil { lateness = histogram } else { lateness?.add(histogram) }
    }

    /// To the nanosecond: it is an estimate.
    private func quantile(_ share: Double, of key: Key) -> Double? {
        histograms[key]?.quantile(share).map { ($0 * 1e9).rounded() / 1e9 }
    }

    /// Puts what was collected into a report.
    func fill(_ report: inout StatusReport) {
        report.backends = backends.sorted { ($1.workers, $0.name, $0.source) < ($0.workers, $1.name, $1.source) }
        let sorted = loops.sorted { first, second in
            (first.key.group, first.key.name, first.key.backend)
                < (second.key.group, second.key.name, second.key.backend)
        }
        report.loops = sorted.prefix(StatusLimits.loops).map { key, loop in
            var loop = loop
            loop.latenessP50Seconds = quantile(0.5, of: key)
            loop.latenessP99Seconds = quantile(0.99, of: key)
            return loop
        }
        report.omitted.loops = max(0, sorted.count - StatusLimits.loops) + beyondLimit + unread
    }
}

extension LoopStatus {
    /// Takes one worker's number in.
    fileprivate mutating func take(_ family: String, _ number: Double) {
        switch family {
        case StatusFamilies.runs: runs = sum(runs, number)
        case StatusFamilies.failures: failures = sum(failures, number)
        case StatusFamilies.overruns: overruns = sum(overruns, number)
        case StatusFamilies.skipped: skipped = sum(skipped, number)
        case StatusFamilies.drift:
            if number.magnitude >= driftSeconds?.magnitude ?? 0 { driftSeconds = number }
        case StatusFamilies.interval: intervalSeconds = max(intervalSeconds ?? number, number)
        case StatusFamilies.lastRun: lastRunAt = max(lastRunAt ?? number, number)
        case StatusFamilies.nextRun: nextRunAt = min(nextRunAt ?? number, number)
        default: break
        }
    }

    /// A sum that stays at the largest number that JSON's readers take for an integer.
    private func sum(_ first: UInt64, _ second: Double) -> UInt64 {
        let largest = 0x1p53
        return UInt64(min(Double(first) + max(0, second), largest))
    }
}
