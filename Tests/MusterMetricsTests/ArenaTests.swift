// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterPlatform
import Synchronization
import Testing

@testable import MusterMetrics

@Suite("Arena")
struct ArenaTests {
    @Test("A reader sees what a writer counts, also series made later")
    func readerSeesUpdates() throws {
        let bench = try MetricBench()
        let jobs = try bench.registry.counter("jobs_total", help: "Jobs.")
        jobs.increment(by: 3)
        #expect(bench.reader.value(of: "jobs_total") == 3)
        let depth = try bench.registry.gaugeFamily("depth", help: "Depth.", labelNames: ["queue", "lane"])
        depth.labels("mail", "fast").set(1.5)
        #expect(
            bench.reader.value(of: "depth", labels: [(name: "lane", value: "fast"), (name: "queue", value: "mail")])
                == 1.5)
        #expect(bench.reader.value(of: "depth", labels: [(name: "queue", value: "mail")]) == nil)
        #expect(bench.reader.value(of: "unknown") == nil)
        #expect(bench.reader.families.map(\.name) == ["jobs_total", "depth"])
        #expect(bench.reader.seriesCount == 2)
        #expect(bench.reader.writerPid == getpid())
    }

    @Test("The next generation keeps totals and hides gauges until it sets them")
    func nextGeneration() throws {
        let old = try MetricBench()
        let labels = ["kind"]
        try old.registry.counterFamily("jobs_total", help: "Jobs.", labelNames: labels).labels("a").increment(by: 7)
        try old.registry.floatingPointCounter("cpu_seconds_total", help: "CPU.", unit: .seconds).increment(by: 0.5)
        try old.registry.gauge("depth", help: "Depth.").set(9)
        try old.registry.histogram("wait_seconds", help: "Wait.", buckets: HistogramBuckets([1])).observe(0.25)
        try old.registry.info("build", help: "Build.", labels: [(name: "version", value: "1")])
        #expect(old.reader.value(of: "depth") == 9)

        let new = try old.nextGeneration()
        #expect(new.writer.epoch == old.writer.epoch + 1)
        #expect(
            new.text() == """
                # HELP cpu_seconds_total CPU.
                # TYPE cpu_seconds_total counter
                cpu_seconds_total 0.5
                # HELP jobs_total Jobs.
                # TYPE jobs_total counter
                jobs_total{kind="a"} 7
                # HELP wait_seconds Wait.
                # TYPE wait_seconds histogram
                wait_seconds_bucket{le="1.0"} 1
                wait_seconds_bucket{le="+Inf"} 1
                wait_seconds_sum 0.25
                wait_seconds_count 1

                """)
        // The old reader looks at the same memory: its view is the new generation's, too.
        #expect(old.reader.value(of: "depth") == nil)

        let jobs = try new.registry.counterFamily("jobs_total", help: "Jobs.", labelNames: labels)
        jobs.labels("a").increment()
        jobs.labels("b").increment()
        let depth = try new.registry.gauge("depth", help: "Depth.")
        #expect(depth.value == nil)
        depth.increment()
        #expect(old.reader.value(of: "depth") == 1, "a gauge starts from 0, not from a dead process' value")
        #expect(old.reader.value(of: "jobs_total", labels: [(name: "kind", value: "a")]) == 8)
        #expect(old.reader.value(of: "jobs_total", labels: [(name: "kind", value: "b")]) == 1)
        #expect(
            try new.registry.histogram("wait_seconds", help: "Wait.", buckets: HistogramBuckets([1])).snapshot().count
                == 1)
    }

    @Test("Of two writers at once both count, and only the later one's gauges show")
    func twoWriters() throws {
        let old = try MetricBench()
        let oldJobs = try old.registry.counter("jobs_total", help: "Jobs.")
        let oldDepth = try old.registry.gauge("depth", help: "Depth.")
        let new = try old.nextGeneration()
        let newJobs = try new.registry.counter("jobs_total", help: "Jobs.")
        let newDepth = try new.registry.gauge("depth", help: "Depth.")
        oldJobs.increment()
        newJobs.increment()
        newDepth.set(2)
        oldDepth.set(100)
        oldDepth.increment()
        oldDepth.clear()
        #expect(old.reader.value(of: "jobs_total") == 2)
        #expect(old.reader.value(of: "depth") == 2)
        #expect(oldDepth.value == nil)

        // Each appends behind what the other one has appended.
        try new.registry.counter("fresh_total", help: "New.").increment()
        try old.registry.counter("late_total", help: "Late.").increment()
        try old.registry.counter("fresh_total", help: "New.").increment()
        try new.registry.counter("late_total", help: "Late.").increment()
        #expect(new.reader.families.map(\.name) == ["jobs_total", "depth", "fresh_total", "late_total"])
        #expect(new.reader.value(of: "fresh_total") == 2)
        #expect(new.reader.value(of: "late_total") == 2)
        #expect(new.reader.damage == nil)
    }

    @Test("A full arena drops and counts, and what fits goes on")
    func fullArena() throws {
        let bench = try MetricBench(capacity: 4096)
        let family = try bench.registry.counterFamily(
            "jobs_total", help: "Jobs.", labelNames: ["kind"], seriesLimit: 10_000)
        for index in 0..<200 { family.labels("kind \(index)").increment() }
        let kept = bench.reader.seriesCount
        #expect(kept > 10 && kept < 200)
        #expect(bench.writer.droppedSeries == UInt64(200 - kept))
        #expect(bench.reader.droppedSeries == UInt64(200 - kept))
        #expect(bench.reader.value(of: "jobs_total", labels: [(name: "kind", value: "kind 0")]) == 1)
        #expect(bench.render().contains("muster_metrics_dropped_series_total \(200 - kept)\n"))
        // A family that does not fit, too, leads nowhere and is counted.
        let late = try bench.registry.counter("late_total", help: String(repeating: "x", count: 4000))
        late.increment()
        #expect(bench.writer.droppedSeries == UInt64(201 - kept))
        #expect(bench.reader.value(of: "late_total") == nil)
        let refusals = bench.log.messages.filter { $0.contains("full") }
        #expect(refusals.count == 2, "each family's refusal is logged once: \(refusals)")
        #expect(bench.reader.damage == nil)
    }

    @Test("The value area can be what is full")
    func fullValueArea() throws {
        let bench = try MetricBench(capacity: 8192)
        let buckets = try HistogramBuckets.linear(start: 1, width: 1, count: 100)
        let family = try bench.registry.histogramFamily(
            "wait_seconds", help: "", buckets: buckets, labelNames: ["kind"])
        for index in 0..<10 { family.labels("\(index)").observe(3) }
        #expect(bench.reader.seriesCount > 0)
        #expect(bench.writer.droppedSeries == UInt64(10 - bench.reader.seriesCount))
    }

    @Test("An arena whose text would take too much memory is shown up to the limit, and the rest is counted")
    func textLimit() throws {
        let bench = try MetricBench()
        let wait = try bench.registry.histogramFamily("wait_seconds", help: "", labelNames: ["kind"])
        for index in 0..<10 { wait.labels("\(index)" + String(repeating: "x", count: 1000)).observe(1) }
        let source = ArenaSource(
            reader: bench.reader, constantLabels: [], logger: bench.log.logger, textLimit: 50_000)
        let exposition = Exposition(sources: [source])
        for _ in 0..<2 {
            let lines = exposition.text(.text).split(separator: "\n")
            #expect(lines.filter { $0.hasPrefix("wait_seconds_count") }.count == 3)
            #expect(lines.contains("muster_metrics_dropped_series_total 7"))
        }
        #expect(bench.log.messages.count == 1)
    }

    @Test("A record that was written but not published is invisible, and the next writer overwrites it")
    func truncatedCommit() throws {
        let bench = try MetricBench()
        try bench.registry.counter("first_total", help: "First.").increment()
        let committed = bench.word(ArenaLayout.Offset.committedDescriptorBytes)
        try bench.registry.counter("second_total", help: "Second.").increment(by: 5)
        // As if the writer had died between the copy and the publication.
        bench.setWord(ArenaLayout.Offset.committedDescriptorBytes, committed)

        let next = try bench.nextGeneration()
        #expect(next.reader.families.map(\.name) == ["first_total"])
        try next.registry.counter("other_total", help: "Other.").increment()
        #expect(next.reader.families.map(\.name) == ["first_total", "other_total"])
        #expect(next.reader.value(of: "other_total") == 1, "cells left behind are emptied before their next use")
        #expect(next.reader.damage == nil)
    }

    @Test("A writer that died while it formatted leaves an empty arena")
    func truncatedFormat() throws {
        let bench = try MetricBench()
        bench.setWord(ArenaLayout.Offset.magic, 0)
        #expect(throws: ArenaError.notFormatted) {
            try ArenaReader(descriptor: bench.writer.descriptor.rawValue)
        }
        let next = try bench.nextGeneration()
        #expect(next.writer.epoch == 1)
        #expect(next.reader.seriesCount == 0)
    }

    @Test("Series that were committed shrink: the reader keeps what it knows and reports the damage once")
    func shrunkCommit() throws {
        let bench = try MetricBench()
        try bench.registry.counter("first_total", help: "First.").increment()
        #expect(bench.text().contains("first_total 1"))
        bench.setWord(ArenaLayout.Offset.committedDescriptorBytes, 8)
        #expect(bench.text().contains("first_total 1"))
        #expect(bench.text().contains("first_total 1"))
        #expect(bench.reader.damage != nil)
        #expect(bench.log.messages.filter { $0.contains("damaged") }.count == 1)
    }

    @Test("What is no arena is refused with what was found")
    func refusals() throws {
        let bench = try MetricBench()
        let descriptor = bench.writer.descriptor
        bench.set32(ArenaLayout.Offset.version, 7)
        #expect(throws: ArenaError.unsupportedVersion(found: 7, supported: 2)) {
            try ArenaReader(descriptor: descriptor.rawValue)
        }
        #expect(throws: ArenaError.unsupportedVersion(found: 7, supported: 2)) {
            try ArenaWriter(descriptor: descriptor)
        }
        bench.set32(ArenaLayout.Offset.version, 2)
        bench.setWord(ArenaLayout.Offset.magic, 0xBAD)
        #expect(throws: ArenaError.wrongMagic(found: 0xBAD)) { try ArenaReader(descriptor: descriptor.rawValue) }
        #expect(throws: ArenaError.wrongMagic(found: 0xBAD)) { try ArenaWriter(descriptor: descriptor) }
        #expect(throws: ArenaError.tooSmall(size: 100, minimum: 4096)) {
            try ArenaWriter.create(name: "small", capacity: 100)
        }
        let small = OwnedDescriptor(cmuster_memory_file_create("small", 64))
        #expect(throws: ArenaError.tooSmall(size: 64, minimum: 4096)) { try ArenaWriter(descriptor: small) }
        let empty = OwnedDescriptor(cmuster_memory_file_create("empty", 8192))
        #expect(throws: ArenaError.notFormatted) { try ArenaReader(descriptor: empty.rawValue) }
        let file = OwnedDescriptor(open("/proc/self/exe", O_RDONLY | O_CLOEXEC))
        #expect(throws: ArenaError.notSealed) { try ArenaReader(descriptor: file.rawValue) }
        #expect(throws: ArenaError.system(SystemError("fcntl", code: EBADF))) { try ArenaReader(descriptor: -1) }
        #expect(ArenaError.wrongMagic(found: 0xBAD).description.contains("0xbad"))
    }

    private static let contradictions: [(Int, UInt64)] = [
        (ArenaLayout.Offset.totalSize, 1),
        (ArenaLayout.Offset.descriptorOffset, 0),
        (ArenaLayout.Offset.descriptorOffset, 257),
        (ArenaLayout.Offset.descriptorSize, .max),
        (ArenaLayout.Offset.descriptorSize, 1 << 62),
        (ArenaLayout.Offset.valueOffset, 256),
        (ArenaLayout.Offset.valueOffset, 0),
        (ArenaLayout.Offset.valueOffset, (1 << 20) - 64),
        (ArenaLayout.Offset.valueSize, .max),
        (ArenaLayout.Offset.valueSize, 1 << 20),
        (ArenaLayout.Offset.committedDescriptorBytes, .max),
        (ArenaLayout.Offset.committedDescriptorBytes, 9),
        (ArenaLayout.Offset.committedValueBytes, .max),
    ]

    @Test(
        "A header that contradicts itself is refused",
        arguments: Self.contradictions)
    func invalidHeader(offset: Int, value: UInt64) throws {
        let bench = try MetricBench()
        try bench.registry.counter("first_total", help: "First.").increment()
        bench.setWord(offset, value)
        #expect {
            try ArenaReader(descriptor: bench.writer.descriptor.rawValue)
        } throws: {
            if case ArenaError.invalidHeader = $0 { true } else { false }
        }
        #expect(throws: ArenaError.self) { try ArenaWriter(descriptor: bench.writer.descriptor) }
    }

    @Test("Histogram cells never share a cache line with their neighbours' beginning")
    func alignment() throws {
        let bench = try MetricBench()
        try bench.registry.counter("first_total", help: "First.").increment()
        let wait = try bench.registry.histogram("wait_seconds", help: "Wait.")
        let offset = UnsafeRawPointer(wait.cells) - UnsafeRawPointer(bench.writer.mapping.base)
        #expect(offset % 64 == 0)
    }

    @Test("The discarding registry works and needs no memory file")
    func discarding() throws {
        let registry = MetricRegistry.discarding()
        let jobs = try registry.counter("jobs_total", help: "Jobs.")
        jobs.increment()
        #expect(jobs.value == 1)
        #expect(registry.arena.descriptor.rawValue == -1)
        #expect(throws: ArenaError.self) { try ArenaReader(descriptor: registry.arena.descriptor.rawValue) }
    }

    @Test("The shared registry is always the same one")
    func shared() throws {
        let first = MetricRegistry.shared
        #expect(first === MetricRegistry.shared)
    }
}

extension MetricBench {
    func word(_ offset: Int) -> UInt64 {
        writer.mapping.cell(at: offset).pointee.load(ordering: .relaxed)
    }

    func setWord(_ offset: Int, _ value: UInt64) {
        writer.mapping.cell(at: offset).pointee.store(value, ordering: .relaxed)
    }

    func set32(_ offset: Int, _ value: UInt32) {
        writer.mapping.base.storeBytes(of: value, toByteOffset: offset, as: UInt32.self)
    }
}
