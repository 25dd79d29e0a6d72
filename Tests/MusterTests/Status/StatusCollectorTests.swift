// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth
import MusterMetrics
import MusterPlatform
import Testing

@testable import Muster

@Suite("What the status makes of workers' series")
struct StatusCollectorTests {
    /// A worker with an arena of its own.
    private struct Bench {
        let registry: MetricRegistry
        let reader: ArenaReader

        init() throws {
            let writer = try ArenaWriter.create(name: "test", capacity: 1 << 20)
            registry = MetricRegistry(arena: writer)
            reader = try ArenaReader(descriptor: writer.descriptor.rawValue)
        }

        func loop(_ name: String, backend: String = "threading") throws -> LoopInstruments {
            LoopInstruments(try LoopFamilies(registry: registry), loop: name, backend: backend)
        }
    }

    private func report() -> StatusReport {
        StatusReport(at: 0, name: "s", mode: .supervisor, version: VersionStatus(), process: ProcessStatus(pid: 1))
    }

    private func worker(_ slot: Int, group: String = "store") -> WorkerStatus {
        WorkerStatus(group: group, slot: slot, state: .ready)
    }

    @Test("Loops are put together over the workers of a group that run the same backend")
    func loops() throws {
        let now = MonotonicInstant.now
        var collector = StatusCollector()
        for (slot, backend) in ["threading", "threading", "cooperative"].enumerated() {
            let bench = try Bench()
            try bench.registry.info("muster_backend", help: "B.", labels: [("backend", backend), ("source", "hook")])
            let loop = try bench.loop("tick", backend: backend)
            for run in 0...slot {
                loop.runBegan(
                    LoopRunStart(lateness: .milliseconds(1), nextDue: now), at: now.advanced(by: .seconds(run)))
            }
            loop.runFailed()
            loop.began(interval: .seconds(1), due: now.advanced(by: .seconds(10 + slot)))
            var status = worker(slot)
            collector.add(bench.reader, limit: 1000, to: &status)
            #expect(status.backend == backend && status.backendSource == "hook")
        }
        var report = report()
        collector.fill(&report)
        #expect(report.loops.map(\.backend) == ["cooperative", "threading"])
        let threading = report.loops[1]
        #expect(threading.workers == 2 && threading.runs == 3 && threading.failures == 2)
        #expect(threading.intervalSeconds == 1)
        let last = try #require(threading.lastRunAt)
        let next = try #require(threading.nextRunAt)
        #expect(abs(next - last - 9) < 0.1, "the latest last run, the earliest next one")
        let lateness = try #require(threading.latenessP50Seconds)
        #expect(abs(lateness / 0.001 - 1) < 0.05, "the bucket of all runs is less than 10 % wide")
        #expect(report.backends.map(\.workers) == [2, 1])
        #expect(collector.lateness?.count == 6)
    }

    @Test("The loop that has slipped the most tells the drift")
    func drift() throws {
        var collector = StatusCollector()
        for (slot, drift) in [0.5, -2, 1].enumerated() {
            let bench = try Bench()
            try bench.registry.gaugeFamily(
                "muster_loop_drift_seconds", help: "D.", unit: .seconds, labelNames: ["backend", "loop"]
            ).labels("threading", "tick").set(drift)
            var status = worker(slot)
            collector.add(bench.reader, limit: 1000, to: &status)
        }
        var report = report()
        collector.fill(&report)
        #expect(report.loops.map(\.driftSeconds) == [-2])
    }

    @Test("What a worker has scribbled is bounded and finite")
    func nonsense() throws {
        let bench = try Bench()
        let runs = try bench.registry.counterFamily(
            "muster_loop_runs_total", help: "R.", labelNames: ["backend", "loop"])
        for index in 0..<900 { runs.labels("b", "loop-\(index)").increment(by: .max) }
        // A family of the right name with other labels, and one of the wrong type.
        try bench.registry.gaugeFamily("muster_loop_drift_seconds", help: "D.", labelNames: ["x"]).labels("y").set(1)
        try bench.registry.gaugeFamily(
            "muster_loop_lateness_seconds", help: "L.", labelNames: ["backend", "loop"]
        ).labels("b", "loop-0").set(.nan)
        var collector = StatusCollector()
        for slot in 0..<3 {
            var status = worker(slot, group: "g\(slot)")
            collector.add(bench.reader, limit: 1000, to: &status)
        }
        var report = report()
        collector.fill(&report)
        #expect(report.loops.count == StatusLimits.loops)
        #expect(report.omitted.loops == 3 * 900 - StatusLimits.loops)
        #expect(report.loops[0].runs == 1 << 53)
        _ = try report.json()
    }

    @Test("The more workers there are, the less is read of each, and what is not read is counted")
    func limit() throws {
        #expect(StatusFamilies.seriesLimit(workers: 1) == 1000)
        #expect(StatusFamilies.seriesLimit(workers: 64) == 72)
        #expect(StatusFamilies.seriesLimit(workers: 10_000) == 20)
        let bench = try Bench()
        for index in 0..<30 {
            try bench.loop("loop-\(index)").runBegan(LoopRunStart(lateness: .zero, nextDue: .now), at: .now)
        }
        var collector = StatusCollector()
        for slot in 0..<2 {
            var status = worker(slot)
            collector.add(bench.reader, limit: 20, to: &status)
        }
        var report = report()
        collector.fill(&report)
        #expect(report.loops.count == 20)
        #expect(report.omitted.loops == 10)
    }
}
