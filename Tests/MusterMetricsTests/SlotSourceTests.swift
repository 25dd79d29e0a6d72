// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterLock
import MusterPlatform
import Synchronization
import Testing

@testable import MusterMetrics

@Suite("Metrics of a worker slot")
struct SlotSourceTests {
    // MARK: - One arena

    @Test("An arena that nobody has formatted yet shows nothing, and is read as soon as a worker attaches")
    func unformatted() throws {
        let bench = SlotBench()
        #expect(bench.text().isEmpty)
        #expect(bench.source.isReadable)
        #expect(bench.source.needsFreshArena(), "there is none")
        let file = try ArenaFile.create(name: "test", capacity: 1 << 16)
        bench.source.use(arena: file)
        #expect(bench.text().isEmpty)
        #expect(bench.source.isReadable && !bench.source.needsFreshArena())
        #expect(bench.value("muster_metrics_dropped_series_total{worker=\"0\"}") == 0)

        let process = try SlotProcess(file: file, pid: 1, log: bench.log)
        try process.count("a", by: 3)
        #expect(bench.text() == "jobs_total{worker=\"0\",kind=\"a\"} 3\n")
        #expect(bench.source.isReadable && !bench.source.needsFreshArena())
        #expect(bench.log.messages.isEmpty)
    }

    @Test("Without carried totals a slot shows what an arena's own source shows, in both formats")
    func sameAsArena() throws {
        let bench = SlotBench()
        let process = try bench.start()
        try process.count("a")
        try process.spend(0.25)
        try process.wait("x", 0.5)
        try process.setDepth(7)
        try process.registry.info("build", help: "B.", labels: [(name: "worker", value: "own")])
        let reader = try ArenaReader(descriptor: process.writer.descriptor.rawValue)
        let plain = Exposition(
            sources: [ArenaSource(reader: reader, constantLabels: [(name: "worker", value: "0")])])
        #expect(bench.exposition.text(.text) == plain.text(.text))
        #expect(bench.exposition.text(.openMetrics) == plain.text(.openMetrics))
    }

    @Test("Gauges vanish with their process, and a successor in the same arena has its own")
    func gaugesVanish() throws {
        let bench = SlotBench()
        let process = try bench.start(pid: 10)
        try process.count("a")
        try process.setDepth(4)
        #expect(bench.value("depth{worker=\"0\"}") == 4)
        bench.source.processEnded(pid: 99)
        #expect(bench.value("depth{worker=\"0\"}") == 4, "that was another process")
        bench.source.processEnded(pid: 10)
        #expect(bench.text() == "jobs_total{worker=\"0\",kind=\"a\"} 1\n")

        let next = try SlotProcess(file: process.writer.descriptor, pid: 11, log: bench.log)
        #expect(bench.value("depth{worker=\"0\"}") == nil)
        try next.setDepth(1)
        #expect(bench.value("depth{worker=\"0\"}") == 1)
    }

    @Test("A process that ended before anything was scraped leaves no gauges either")
    func gaugesNeverScraped() throws {
        let bench = SlotBench()
        let process = try bench.start(pid: 10)
        try process.count("a")
        try process.setDepth(4)
        bench.source.processEnded(pid: 10)
        #expect(bench.text() == "jobs_total{worker=\"0\",kind=\"a\"} 1\n")
    }

    @Test("In a rolling reload both processes count, and the predecessor's end leaves the successor's gauges")
    func rolling() throws {
        let bench = SlotBench()
        let old = try bench.start(pid: 10)
        try old.count("a")
        try old.setDepth(4)
        let new = try SlotProcess(file: old.writer.descriptor, pid: 11, log: bench.log)
        try new.count("a")
        #expect(bench.value("depth{worker=\"0\"}") == nil)
        try new.setDepth(1)
        try old.count("a")
        try old.setDepth(100)
        #expect(bench.value("depth{worker=\"0\"}") == 1)
        bench.source.processEnded(pid: 10)
        #expect(bench.value("depth{worker=\"0\"}") == 1)
        #expect(bench.value("jobs_total{worker=\"0\",kind=\"a\"}") == 3)
        bench.source.processEnded(pid: 11)
        #expect(bench.value("depth{worker=\"0\"}") == nil)
        #expect(bench.value("jobs_total{worker=\"0\",kind=\"a\"}") == 3)
    }

    // MARK: - Several arenas

    @Test("Totals go on over replaced arenas, whatever the order and the labels")
    func carried() throws {
        let bench = SlotBench()
        let first = try bench.start(pid: 1)
        try first.count("a", by: 3)
        try first.count("b", by: 5)
        try first.spend(0.5)
        try first.wait("x", 0.05)
        try first.wait("x", 50)
        try first.setDepth(9)
        try first.registry.info("build", help: "B.", labels: [(name: "version", value: "1")])
        _ = bench.text()

        let second = try bench.start(pid: 2)
        let carried = """
            cpu_seconds_total{worker="0"} 0.5
            jobs_total{worker="0",kind="a"} 3
            jobs_total{worker="0",kind="b"} 5
            wait_seconds_bucket{worker="0",kind="x",le="0.1"} 1
            wait_seconds_bucket{worker="0",kind="x",le="1.0"} 1
            wait_seconds_bucket{worker="0",kind="x",le="+Inf"} 2
            wait_seconds_sum{worker="0",kind="x"} 50.05
            wait_seconds_count{worker="0",kind="x"} 2

            """
        #expect(bench.text() == carried, "gauges and informations are not carried")

        // Another order, other labels, and one family not at all.
        try second.wait("y", 0.5)
        try second.wait("x", 0.5)
        try second.count("c", by: 7)
        try second.count("b", by: 10)
        #expect(
            bench.text() == """
                cpu_seconds_total{worker="0"} 0.5
                jobs_total{worker="0",kind="a"} 3
                jobs_total{worker="0",kind="b"} 15
                jobs_total{worker="0",kind="c"} 7
                wait_seconds_bucket{worker="0",kind="x",le="0.1"} 1
                wait_seconds_bucket{worker="0",kind="x",le="1.0"} 2
                wait_seconds_bucket{worker="0",kind="x",le="+Inf"} 3
                wait_seconds_sum{worker="0",kind="x"} 50.55
                wait_seconds_count{worker="0",kind="x"} 3
                wait_seconds_bucket{worker="0",kind="y",le="0.1"} 0
                wait_seconds_bucket{worker="0",kind="y",le="1.0"} 1
                wait_seconds_bucket{worker="0",kind="y",le="+Inf"} 1
                wait_seconds_sum{worker="0",kind="y"} 0.5
                wait_seconds_count{worker="0",kind="y"} 1

                """)

        let third = try bench.start(pid: 3)
        try third.spend(0.25)
        try third.count("c")
        try third.count("d")
        #expect(bench.value("cpu_seconds_total{worker=\"0\"}") == 0.75)
        #expect(bench.value("jobs_total{worker=\"0\",kind=\"a\"}") == 3)
        #expect(bench.value("jobs_total{worker=\"0\",kind=\"c\"}") == 8)
        #expect(bench.value("jobs_total{worker=\"0\",kind=\"d\"}") == 1)
        #expect(bench.value("wait_seconds_count{worker=\"0\",kind=\"y\"}") == 1)
        #expect(bench.log.messages.isEmpty)
    }

    @Test("An arena that was replaced before anybody scraped it counts as well")
    func neverScraped() throws {
        let bench = SlotBench()
        for pid in 1...3 { try bench.start(pid: Int32(pid)).count("a", by: pid) }
        #expect(bench.text() == "jobs_total{worker=\"0\",kind=\"a\"} 6\n")
    }

    @Test("The same memory file again is no other arena, through whatever descriptor")
    func sameFile() throws {
        let bench = SlotBench()
        let process = try bench.start()
        try process.count("a", by: 3)
        try process.setDepth(1)
        bench.source.use(arena: process.writer.descriptor)
        bench.source.use(arena: OwnedDescriptor(fcntl(process.writer.descriptor.rawValue, F_DUPFD_CLOEXEC, 0)))
        #expect(bench.text() == "depth{worker=\"0\"} 1\njobs_total{worker=\"0\",kind=\"a\"} 3\n")
    }

    @Test("What a process counts while it drains is taken in until its end")
    func draining() throws {
        let bench = SlotBench()
        let old = try bench.start(pid: 1)
        try old.count("a")
        try old.spend(0.1)
        try old.wait("x", 1)
        let new = try bench.start(pid: 2)
        try new.count("a", by: 10)
        try old.count("a")
        try old.spend(0.2)
        try old.wait("x", 2)
        #expect(bench.value("jobs_total{worker=\"0\",kind=\"a\"}") == 12)
        try old.count("a")
        bench.source.processEnded(pid: 1)
        #expect(bench.value("jobs_total{worker=\"0\",kind=\"a\"}") == 13)
        #expect(bench.value("cpu_seconds_total{worker=\"0\"}") == 0.1 + 0.2)
        #expect(bench.value("wait_seconds_sum{worker=\"0\",kind=\"x\"}") == 3)
        try old.count("a")
        #expect(bench.value("jobs_total{worker=\"0\",kind=\"a\"}") == 13, "a process that is gone counts nothing")
    }

    @Test("Refused series and updates are totals, too")
    func droppedTotals() throws {
        let bench = SlotBench()
        for pid in 1...3 {
            let process = try bench.start(pid: Int32(pid))
            let family = try process.registry.counterFamily(
                "jobs_total", help: "", labelNames: ["kind"], seriesLimit: 1)
            for kind in ["a", "b", "c"] { family.labels(kind).increment() }
            family.labels("a").increment(by: -1)
        }
        #expect(bench.value("muster_metrics_dropped_series_total{worker=\"0\"}") == 6)
        #expect(bench.value("muster_metrics_dropped_updates_total{worker=\"0\"}") == 3)
    }

    @Test("A family whose buckets or type changed starts again, which is said once")
    func contradictions() throws {
        let bench = SlotBench()
        let first = try bench.start(pid: 1)
        try first.wait("x", 0.05)
        try first.wait("z", 0.05)
        try first.count("a", by: 5)
        _ = bench.text()
        for pid in 2...4 {
            let next = try bench.start(pid: Int32(pid))
            try next.wait("x", 0.5, bounds: pid % 2 == 0 ? [1, 2] : [3])
            try next.count("a")
            try next.registry.gauge("cpu_seconds", help: "").set(1)
        }
        let last = try bench.start(pid: 5)
        try last.spend(2)
        #expect(
            bench.text() == """
                cpu_seconds_total{worker="0"} 2
                jobs_total{worker="0",kind="a"} 8
                wait_seconds_bucket{worker="0",kind="x",le="1.0"} 1
                wait_seconds_bucket{worker="0",kind="x",le="2.0"} 1
                wait_seconds_bucket{worker="0",kind="x",le="+Inf"} 1
                wait_seconds_sum{worker="0",kind="x"} 0.5
                wait_seconds_count{worker="0",kind="x"} 1

                """)
        #expect(bench.log.messages.count == 1, "\(bench.log.messages)")
        #expect(bench.log.messages.first?.contains("starts again from 0 [wait_seconds]") == true)
    }

    @Test("A thousand generations with the same series take no more memory than two")
    func noGrowth() throws {
        let bench = SlotBench()
        func generation(_ number: Int) throws {
            let process = try bench.start(pid: Int32(number), capacity: 1 << 13)
            // The order differs from time to time, and every process has gauges of its own.
            for kind in number % 2 == 0 ? ["a", "b", "c"] : ["c", "b", "a"] {
                try process.count(kind)
                try process.wait(kind, 0.5)
            }
            try process.registry.gauge("depth_\(number)", help: "").set(1)
            try process.registry.info("build", help: "", labels: [(name: "version", value: "\(number)")])
            if number % 3 == 0 { _ = bench.text() }
            if number % 2 == 0 { bench.source.processEnded(pid: Int32(number)) }
        }
        for number in 1...3 { try generation(number) }
        _ = try bench.start(pid: 0)
        let samples = bench.text().split(separator: "\n").count
        let size = bench.source.size
        #expect(samples == 3 + 3 * 5)
        #expect(size.carriedWords == 3 + 3 * 4)
        for number in 4...1000 { try generation(number) }
        _ = try bench.start(pid: 0)
        #expect(bench.text().split(separator: "\n").count == samples)
        #expect(bench.source.size == size)
        #expect(bench.value("jobs_total{worker=\"0\",kind=\"b\"}") == 1000)
        #expect(bench.value("wait_seconds_sum{worker=\"0\",kind=\"c\"}") == 500)
        #expect(bench.log.messages.isEmpty)
    }

    @Test("Series beyond the limit of text are left out over all arenas, and what was known goes on")
    func textLimit() throws {
        let bench = SlotBench(textLimit: 2000)
        for pid in 1...3 {
            let process = try bench.start(pid: Int32(pid))
            for index in 0..<40 { try process.count("\(pid) \(index) " + String(repeating: "x", count: 50)) }
            try process.count("1 0 " + String(repeating: "x", count: 50))
        }
        let lines = bench.text().split(separator: "\n")
        #expect(lines.count < 30)
        #expect(lines.first?.hasSuffix(" 4") == true)
        #expect(bench.log.messages.filter { $0.contains("too much text") }.count == 1)
        let left = try #require(bench.value("muster_metrics_dropped_series_total{worker=\"0\"}"))
        #expect(left > 80)
    }

    @Test("Totals never fall under scrapes while another thread replaces arenas and old processes drain")
    func neverFalling() async throws {
        let bench = SlotBench()
        let isOver = Atomic<Bool>(false)
        let falls = Locked<[String]>([])
        let scrapes = Atomic<Int>(0)
        let running = Locked(3)
        let threads = AsyncStream<Void>.makeStream()
        let leave: @Sendable () -> Void = {
            let left = running.withLock { count in
                count -= 1
                return count
            }
            if left == 0 { threads.continuation.finish() }
        }
        let source = bench.source
        for _ in 0..<2 {
            try NativeThread.start(name: "scrapes") {
                let exposition = Exposition(sources: [source])
                var last: [Substring: Double] = [:]
                while true {
                    let isLast = isOver.load(ordering: .acquiring)
                    let text = exposition.text(.text)
                    var seen: [Substring: Double] = [:]
                    for line in text.split(separator: "\n") where !line.hasPrefix("#") {
                        let space = line.lastIndex(of: " ") ?? line.startIndex
                        seen[line[..<space]] = Double(line[space...].dropFirst()) ?? .nan
                    }
                    for (series, value) in last where !((seen[series] ?? -1) >= value) {
                        falls.withLock { $0.append("\(series): \(value), then \(seen[series] ?? -1)") }
                    }
                    last = seen
                    scrapes.wrappingAdd(1, ordering: .relaxed)
                    if isLast { break }
                }
                leave()
            }
        }
        // Another thread counts in the last two arenas all the time.
        let writers = Locked<[SlotProcess]>([])
        try NativeThread.start(name: "counts") {
            while !isOver.load(ordering: .acquiring) {
                writers.withLock { writers in
                    for process in writers {
                        try? process.count("a")
                        try? process.spend(0.1)
                        try? process.wait("x", 0.7)
                    }
                }
            }
            leave()
        }
        for number in 1...200 {
            // At most the present process and its draining predecessor count.
            writers.withLock { $0 = $0.suffix(1) }
            let process = try bench.start(pid: Int32(number), capacity: 1 << 14)
            try process.count("fresh \(number % 7)")
            writers.withLock { $0.append(process) }
            let before = scrapes.load(ordering: .relaxed)
            while number % 10 == 0, scrapes.load(ordering: .relaxed) < before + 2 { sched_yield() }
            if number % 3 == 0 {
                writers.withLock { $0 = $0.suffix(1) }
                source.processEnded(pid: Int32(number - 1))
            }
        }
        isOver.store(true, ordering: .releasing)
        for await _ in threads.stream {}
        #expect(falls.withLock { $0 } == [])
    }
}
