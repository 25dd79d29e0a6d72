// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterPlatform
import MusterTestSupport
import Synchronization
import Testing

@testable import MusterMetrics

@Suite("Worker slot with a damaged arena")
struct SlotDamageTests {
    @Test("Damage costs the slot's new series only, and a fresh arena goes on from what was known")
    func damaged() throws {
        let bench = SlotBench()
        let healthy = SlotBench()
        let neighbour = try healthy.start()
        try neighbour.count("fine")
        bench.exposition.add(healthy.source)
        let process = try bench.start(pid: 7)
        try process.count("a", by: 3)
        try process.setDepth(2)
        _ = bench.text()
        process.setWord(ArenaLayout.Offset.committedDescriptorBytes, 9)
        try process.count("a", by: 2)
        #expect(bench.source.needsFreshArena())
        #expect(
            bench.text()
                == "depth{worker=\"0\"} 2\njobs_total{worker=\"0\",kind=\"a\"} 5\njobs_total{worker=\"0\",kind=\"fine\"} 1\n"
        )
        #expect(!bench.source.isReadable && healthy.source.isReadable)
        bench.source.processEnded(pid: 7)
        #expect(bench.value("depth{worker=\"0\"}") == nil)

        let next = try bench.start(pid: 8)
        #expect(bench.value("jobs_total{worker=\"0\",kind=\"a\"}") == 5)
        try next.count("a", by: 10)
        #expect(bench.value("jobs_total{worker=\"0\",kind=\"a\"}") == 15)
        #expect(bench.source.isReadable && !bench.source.needsFreshArena())
        #expect(bench.log.messages.filter { $0.contains("unreadable") }.count == 1)
    }

    @Test("An arena that was damaged before its first scrape shows the records before the damage")
    func damagedBeforeScrape() throws {
        let bench = SlotBench()
        let process = try bench.start()
        try process.count("a", by: 3)
        let sound = Int(process.word(ArenaLayout.Offset.committedDescriptorBytes))
        try process.count("b", by: 4)
        process.setWord(ArenaLayout.headerSize + sound, .max)
        #expect(bench.text() == "jobs_total{worker=\"0\",kind=\"a\"} 3\n")
        #expect(!bench.source.isReadable && bench.source.needsFreshArena())
        _ = try bench.start()
        #expect(bench.text() == "jobs_total{worker=\"0\",kind=\"a\"} 3\n")
        #expect(bench.source.isReadable)
    }

    @Test("A header that was overwritten behind a reader's back calls for a fresh arena")
    func overwrittenHeader() throws {
        for (offset, word) in [(ArenaLayout.Offset.magic, 0), (ArenaLayout.Offset.magic, 0xBAD), (8, 2), (24, 1)] {
            let bench = SlotBench()
            let process = try bench.start()
            try process.count("a")
            _ = bench.text()
            process.setWord(offset, UInt64(word))
            #expect(bench.source.needsFreshArena(), "\(offset)")
            #expect(bench.text() == "jobs_total{worker=\"0\",kind=\"a\"} 1\n")
        }
    }

    @Test(
        "A file that is no arena, or none that this version reads, costs nothing but itself",
        arguments: ["other version", "truncated", "unsealed", "magic"])
    func unreadable(_ what: String) throws {
        let bench = SlotBench()
        try bench.start(pid: 1).count("a", by: 2)
        let file: OwnedDescriptor
        switch what {
        case "truncated": file = OwnedDescriptor(cmuster_memory_file_create("short", 64))
        case "unsealed": file = OwnedDescriptor(open("/proc/self/exe", O_RDONLY | O_CLOEXEC))
        default:
            let writer = try ArenaWriter.create(name: "test", capacity: 1 << 14)
            let offset = what == "magic" ? ArenaLayout.Offset.magic : ArenaLayout.Offset.version
            writer.mapping.base.storeBytes(of: 7, toByteOffset: offset, as: UInt32.self)
            file = writer.descriptor
        }
        bench.source.use(arena: file)
        for _ in 0..<3 { #expect(bench.text() == "jobs_total{worker=\"0\",kind=\"a\"} 2\n") }
        #expect(!bench.source.isReadable && bench.source.needsFreshArena())
        #expect(bench.log.messages.count == 1)
        bench.source.processEnded(pid: 2)
        try bench.start(pid: 3).count("a")
        #expect(bench.text() == "jobs_total{worker=\"0\",kind=\"a\"} 3\n")
        #expect(bench.source.isReadable)
    }

    @Test("Numbers that are none are not carried, and the largest total does not wrap around")
    func wildCells() throws {
        let bench = SlotBench()
        for bits in [Double.nan.bitPattern, Double.infinity.bitPattern, (-5.0).bitPattern] {
            let process = try bench.start(pid: 1)
            try process.spend(1)
            try process.count("a")
            try process.wait("x", 1)
            for (name, labels) in [("cpu_seconds_total", []), ("wait_seconds", ["x"])] {
                let offset = try #require(process.offset(of: name, labels))
                process.setWord(offset, bits)
            }
            process.setWord(try #require(process.offset(of: "jobs_total", ["a"])), .max)
        }
        try bench.start(pid: 1).spend(2)
        #expect(bench.value("cpu_seconds_total{worker=\"0\"}") == 2)
        #expect(bench.value("jobs_total{worker=\"0\",kind=\"a\"}") == Double(UInt64.max))
        #expect(bench.value("wait_seconds_count{worker=\"0\",kind=\"x\"}") == 3)
        // A negative sum is possible: observations may be negative.
        #expect(bench.value("wait_seconds_sum{worker=\"0\",kind=\"x\"}") == -5)
    }

    @Test("A series with a value that no program leaves there is left out, and said to be missing")
    func implausible() throws {
        let bad: [(name: String, labels: [String], bits: UInt64)] = [
            ("cpu_seconds_total", [], Double.nan.bitPattern), ("cpu_seconds_total", [], (-5.0).bitPattern),
            ("cpu_seconds_total", [], Double.infinity.bitPattern), ("wait_seconds", ["x"], Double.nan.bitPattern),
            ("build_info", ["1"], (2.0).bitPattern),
        ]
        for (name, labels, bits) in bad {
            let bench = SlotBench()
            let process = try bench.start(pid: 1)
            try process.spend(1)
            try process.wait("x", 1)
            try process.count("a")
            try process.registry.info("build", help: "B.", labels: [(name: "version", value: "1")])
            #expect(bench.source.isReadable && !bench.source.needsFreshArena())
            let before = bench.text()
            process.setWord(try #require(process.offset(of: name, labels)), bits)
            let after = bench.text()
            #expect(before.contains(name) && !after.contains(name), "\(name)")
            #expect(after.contains("jobs_total"))
            for _ in 0..<3 { #expect(!bench.source.isReadable) }
            #expect(bench.log.messages.filter { $0.contains("values damaged") }.count == 1)
            // The next process gets another arena, in which all is well.
            #expect(bench.source.needsFreshArena())
            try bench.start(pid: 2).spend(2)
            #expect(bench.source.isReadable && !bench.source.needsFreshArena())
        }
    }

    @Test("Three thousand scribbles over present and past arenas never trap, and leave the neighbour alone")
    func scribbles() throws {
        let bench = SlotBench(textLimit: 20_000)
        let neighbour = SlotBench()
        try neighbour.start().count("fine")
        bench.exposition.add(neighbour.source)
        var random = ArenaFuzzTests.Scribbler(state: 0x736C_6F74)
        var processes: [SlotProcess] = []
        var damaged = 0
        let rounds = Scale.of(3_000)
        for round in 0..<rounds {
            if round % 20 == 0 {
                let process = try bench.start(pid: Int32(round), capacity: 4096)
                for kind in ["a", "b\(round % 7)"] {
                    try process.count(kind)
                    try process.wait(kind, 0.3, bounds: round % 200 == 0 ? [1] : [0.1, 1])
                }
                try process.setDepth(3)
                processes = processes.suffix(2) + [process]
            }
            guard let victim = processes.randomElement(using: &random) else { continue }
            let used = ArenaLayout.headerSize + 1024
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let offset = Int.random(in: 0..<(round % 8 == 0 ? 4096 : used), using: &random) & ~7
                switch random.next() % 3 {
                case 0: victim.setWord(offset, random.next())
                case 1: victim.setWord(offset, random.next() % 4096)
                default: victim.setWord(offset, victim.word(offset) ^ 1 << (random.next() % 64))
                }
            }
            switch random.next() % 5 {
            case 0: bench.source.processEnded(pid: Int32(round - round % 20))
            case 1: if bench.source.needsFreshArena() { damaged += 1 }
            default: break
            }
            let text = bench.exposition.text(.openMetrics)
            if !text.hasSuffix("# EOF\n") || !text.contains("jobs_total{worker=\"0\",kind=\"fine\"} 1\n") {
                Issue.record("round \(round): \(text)")
            }
        }
        #expect(damaged > rounds / 20)
        #expect(bench.source.size.textBytes < 25_000)
    }
}

extension SlotProcess {
    /// Where a series' cells begin.
    func offset(of name: String, _ labelValues: [String]) -> Int? {
        guard let reader = try? ArenaReader(descriptor: writer.descriptor.rawValue) else { return nil }
        return reader.withIndex { index, _ in
            index.families.first { $0.definition.name == name }?.series.first { $0.labelValues == labelValues }?
                .valueOffset
        }
    }
}
