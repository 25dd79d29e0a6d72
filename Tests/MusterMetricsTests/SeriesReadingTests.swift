// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterMetrics

@Suite("Series read one by one")
struct SeriesReadingTests {
    @Test("are those of the arena, with what earlier arenas counted")
    func carried() throws {
        let bench = SlotBench()
        let first = try bench.start(pid: 1)
        try first.count("a", by: 3)
        try first.wait("x", 0.05)
        try first.spend(0.5)
        try first.setDepth(9)
        #expect(bench.source.read(["depth"], limit: 10).first?.number == 9)
        bench.source.processEnded(pid: 1)
        #expect(bench.source.read(["depth"], limit: 10).isEmpty, "it vanishes with its process")

        let second = try bench.start(pid: 2)
        try second.count("a", by: 4)
        try second.count("b")
        try second.wait("x", 0.5)
        try second.spend(0.25)
        let readings = bench.source.read(["jobs_total", "wait_seconds", "cpu_seconds_total", "depth"], limit: 10)
        let jobs = readings.filter { $0.family == "jobs_total" }
        #expect(jobs.map { $0["kind"] } == ["a", "b"])
        #expect(jobs.map(\.number) == [7, 1])
        #expect(readings.first { $0.family == "cpu_seconds_total" }?.number == 0.75)
        let wait = try #require(readings.first { $0.family == "wait_seconds" }?.histogram)
        #expect(wait.bucketCounts == [1, 1, 0])
        #expect(wait.count == 2 && abs(wait.sum - 0.55) < 1e-9)
        #expect(!readings.contains { $0.family == "depth" })
        #expect(jobs.first?["other"] == nil)
    }

    @Test("are no more of a family than were asked for")
    func limit() throws {
        let bench = SlotBench()
        let process = try bench.start()
        for index in 0..<5 { try process.count("k\(index)") }
        #expect(bench.source.read(["jobs_total"], limit: 3).count == 3)
        let reader = try ArenaReader(descriptor: process.writer.descriptor.rawValue)
        #expect(reader.read(["jobs_total"], limit: 3).map { $0["kind"] } == ["k0", "k1", "k2"])
    }

    @Test("have no number that is not finite")
    func finite() throws {
        let bench = SlotBench()
        let process = try bench.start()
        try process.setDepth(.infinity)
        #expect(bench.source.read(["depth"], limit: 3).map(\.number) == [nil])
    }
}
