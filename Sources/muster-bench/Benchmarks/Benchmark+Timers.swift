// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Glibc
import Muster
import MusterExecution
import MusterPlatform
import Synchronization

extension Benchmark {
    static func manyTimers(_ effort: Effort) throws -> [Figure] {
        let count = effort(10_000, quick: 10_000)
        let interval: Int64 = 1_000_000_000
        let window = effort(5, quick: 2)
        var random = SplitMix(state: 2)
        let phases = (0..<count).map { _ in Int64(random.next() % UInt64(interval)) }
        let rounds = try Rounds.run(
            effort(3, quick: 1),
            [
                { try useOfLoops(phases: phases, interval: interval, seconds: window) },
                { try useOfHeap(phases: phases, interval: interval, seconds: window) },
            ])
        let calls = rounds.map { Text.fixed(Statistics.median($0.map(\.callsPerSecond)), digits: 0) }
        return [
            Figure(
                "\(count) looping calls of 1 s, cooperative", in: .processors, rounds[0].map(\.processors),
                against: ("heap and clock_nanosleep in C", rounds[1].map(\.processors)), limit: .ratioAtMost(1.5),
                note: "calls per second: \(calls[0]), reference \(calls[1])")
        ]
    }

    private struct Use {
        var processors: Double
        var callsPerSecond: Double
    }

    private static func useOfLoops(phases: [Int64], interval: Int64, seconds: Int) throws -> Use {
        let backend = try Backends.make(.cooperative)
        defer { try? Backends.shutDown(backend) }
        let calls = CallCount(slots: phases.count)
        var loops: [FixedIntervalLoopingCall] = []
        for (slot, phase) in phases.enumerated() {
            let loop = FixedIntervalLoopingCall(name: "bench", backend: backend) { calls.count(in: slot) }
            // The first runs come when all have been started.
            try loop.start(interval: .nanoseconds(interval), initialDelay: .nanoseconds(interval + phase))
            loops.append(loop)
        }
        usleep(UInt32(2 * interval / 1000))
        let use = measureUse(seconds: seconds) { calls.total }
        for loop in loops { loop.stop() }
        return use
    }

    private static func useOfHeap(phases: [Int64], interval: Int64, seconds: Int) throws -> Use {
        let settling: Int64 = 300_000_000
        let wait = try Blocking.startThread {
            _ = cmusterbench_set_timer_slack(1)
            let start = cmusterbench_now()
            let first = phases.map { start + $0 }
            // It ends a little after the window.
            let length = 2 * settling + Int64(seconds) * 1_000_000_000
            return (
                calls: cmusterbench_timer_heap(first, first.count, interval, start + length), length: length
            )
        }
        usleep(UInt32(settling / 1000))
        var use = measureUse(seconds: seconds) { 0 }
        let (calls, length) = try wait()
        use.callsPerSecond = Double(try checked(calls)) / Double(length) * 1e9
        return use
    }

    private static func measureUse(seconds: Int, calls: () -> Int) -> Use {
        let (start, startTime, startCalls) = (cmusterbench_now(), cmusterbench_process_time(), calls())
        sleep(UInt32(seconds))
        let elapsed = Double(cmusterbench_now() - start)
        return Use(
            processors: Double(cmusterbench_process_time() - startTime) / elapsed,
            callsPerSecond: Double(calls() - startCalls) / elapsed * 1e9)
    }
}
