// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterPlatform
import Synchronization

@testable import MusterMetrics

/// A slot's source with its exposition, and arenas to put into it.
struct SlotBench {
    let log = RecordedLog()
    let source: SlotSource
    let exposition: Exposition

    init(textLimit: Int = 1 << 20) {
        source = SlotSource(
            constantLabels: [(name: "worker", value: "0")], logger: log.logger, textLimit: textLimit)
        exposition = Exposition(sources: [source], logger: log.logger)
    }

    /// A process of the slot, with an arena of its own that the source shows from now on.
    func start(pid: Int32 = 100, capacity: Int = 1 << 20) throws -> SlotProcess {
        let file = try ArenaFile.create(name: "test", capacity: capacity)
        let process = try SlotProcess(file: file, pid: pid, log: log)
        source.use(arena: file)
        return process
    }

    /// The exposition without the families that every arena has.
    func text() -> String {
        exposition.text(.text).split(separator: "\n", omittingEmptySubsequences: false)
            .filter { !$0.contains("muster_metrics_dropped_") && !$0.hasPrefix("#") }.joined(separator: "\n")
    }

    /// A sample's value by its name and labels.
    func value(_ series: String) -> Double? {
        exposition.text(.text).split(separator: "\n").first { $0.hasPrefix(series + " ") }
            .flatMap { Double($0.dropFirst(series.utf8.count + 1)) }
    }
}

/// A process of a slot as its arena sees it.
struct SlotProcess {
    let writer: ArenaWriter
    let registry: MetricRegistry
    let pid: Int32

    init(file: OwnedDescriptor, pid: Int32, log: RecordedLog) throws {
        writer = try ArenaWriter(descriptor: file)
        writer.mapping.cell(at: ArenaLayout.Offset.writerPid).pointee.store(UInt64(pid), ordering: .relaxed)
        registry = MetricRegistry(arena: writer, logger: log.logger)
        self.pid = pid
    }

    func count(_ kind: String, by amount: Int = 1) throws {
        try registry.counterFamily("jobs_total", help: "Jobs.", labelNames: ["kind"]).labels(kind)
            .increment(by: amount)
    }

    func spend(_ seconds: Double) throws {
        try registry.floatingPointCounter("cpu_seconds_total", help: "CPU.", unit: .seconds).increment(by: seconds)
    }

    func wait(_ kind: String, _ seconds: Double, bounds: [Double] = [0.1, 1]) throws {
        try registry.histogramFamily(
            "wait_seconds", help: "Wait.", unit: .seconds, buckets: HistogramBuckets(bounds), labelNames: ["kind"]
        ).labels(kind).observe(seconds)
    }

    func setDepth(_ value: Double) throws {
        try registry.gauge("depth", help: "Depth.").set(value)
    }

    func word(_ offset: Int) -> UInt64 {
        writer.mapping.cell(at: offset).pointee.load(ordering: .relaxed)
    }

    func setWord(_ offset: Int, _ value: UInt64) {
        writer.mapping.cell(at: offset).pointee.store(value, ordering: .relaxed)
    }
}
