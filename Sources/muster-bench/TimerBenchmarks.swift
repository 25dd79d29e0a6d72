// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Glibc
import Muster
import MusterExecution
import MusterPlatform
import Synchronization

extension Benchmark {
    static func lateness(_ effort: Effort) throws -> [Figure] {
        try lateness(interval: 1_000_000, count: effort(400, quick: 200), rounds: effort(11, quick: 4))
            + lateness(interval: 10_000_000, count: effort(80, quick: 40), rounds: effort(11, quick: 4))
    }

    private static func lateness(interval: Int64, count: Int, rounds: Int) throws -> [Figure] {
        let hub = try WitnessedLoop(.cooperative)
        defer { hub.shutDown() }
        let threads = try WitnessedLoop(.threading)
        defer { threads.shutDown() }
        var slack: Int64 = 0
        let samples = try Rounds.run(
            rounds,
            [
                { try hub.run(interval: interval, count: count).latenesses },
                { try threads.run(interval: interval, count: count).latenesses },
                {
                    let (grid, reached) = try BareLoop.start(interval: interval, count: count, slack: 1)()
                    slack = reached
                    return grid.latenesses
                },
                { try BareLoop.start(interval: interval, count: count, slack: BareLoop.defaultSlack)().0.latenesses },
            ])
        let medians = samples.map { $0.map { Statistics.quantile(0.5, of: $0) } }
        let tails = samples.map { Unit.nanoseconds.text(Statistics.quantile(0.99, of: $0.joined())) }
        let reference = (name: "clock_nanosleep, timer slack \(slack) ns", values: medians[2])
        let label = Unit.nanoseconds.text(Double(interval))
        return [
            Figure(
                "median, \(label), cooperative", in: .nanoseconds, medians[0], against: reference,
                limit: .ratioAtMost(1.5), note: "p99 \(tails[0]), reference \(tails[2])"),
            Figure(
                "median, \(label), threading", in: .nanoseconds, medians[1], against: reference,
                limit: .ratioAtMost(1.5), note: "p99 \(tails[1]), reference \(tails[2])"),
            Figure(
                "median, \(label), C with default slack", in: .nanoseconds, medians[3], against: reference,
                note: "p99 \(tails[3]), reference \(tails[2])"),
        ]
    }

    static func drift(_ effort: Effort) throws -> [Figure] {
        let interval: Int64 = 10_000_000
        let count = effort(2000, quick: 400)
        // `burst` makes each start up, as the reference does; `delay`, the default, counts on from where it is after
        // an overrun and when it was held up for more than a second.
        let contenders: [(type: BackendType, overrun: OverrunPolicy)] = [
            (.cooperative, .burst), (.threading, .burst), (.cooperative, .delay), (.threading, .delay),
        ]
        let loops = try contenders.map { try WitnessedLoop($0.type, overrun: $0.overrun) }
        defer { for loop in loops { loop.shutDown() } }
        // All at the same time, so that they suffer from the same neighbours.
        let endOfReference = try BareLoop.start(interval: interval, count: count, slack: 1)
        let ends = try loops.map { try $0.start(interval: interval, count: count) }
        let reference = try endOfReference().0
        let grids = try ends.map { try $0() }
        let seconds = Text.fixed(Double(interval) * Double(count) / 1e9, digits: 0)
        return zip(contenders, grids).flatMap { contender, grid in
            let label = "\(contender.type), \(contender.overrun)"
            let slip = Unit.nanoseconds.text(Double(grid.slipped))
            return [
                Figure(
                    "after \(seconds) s of 10 ms, \(label)", in: .nanoseconds, [grid.endDrift],
                    against: ("clock_nanosleep, absolute", [reference.endDrift]), isRatioMeaningful: false,
                    limit: .valueAtMost(Double(interval)),
                    note: grid.slipped == 0
                        ? nil : "held up by the machine; the grid was moved by \(slip) in all"),
                Figure(
                    "second half minus first, \(label)", in: .nanoseconds, [grid.driftGrowth],
                    against: ("clock_nanosleep, absolute", [reference.driftGrowth]), isRatioMeaningful: false,
                    limit: .valueAtMost(Double(interval) / 100)),
            ]
        }
    }
}

extension Benchmark {
    static func manyTimers(_ effort: Effort) throws -> [Figure] {
        let count = effort(10_000, quick: 10_000)
        let interval: Int64 = 1_000_000_000
        let window = effort(5, quick: 2)
        var random = SplitMix64(seed: 2)
        let phases = (0..<count).map { _ in Int64(random.next() % UInt64(interval)) }
        let rounds = try Rounds.run(
            effort(3, quick: 1),
            [
                { try useOfLoops(phases: phases.map { interval + $0 }, interval: interval, seconds: window) },
                { try useOfHeap(phases: phases, interval: interval, seconds: window) },
            ])
        let calls = rounds.map { Text.fixed(Statistics.median($0.map(\.callsPerSecond)), digits: 0) }
        return [
            Figure(
                "\(count) looping calls of 1 s, cooperative", in: .processors, rounds[0].map(\.processors),
                against: ("heap and clock_nanosleep in C", rounds[1].map(\.processors)), limit: .ratioAtMost(0.5),
                note: "calls per second: \(calls[0]), reference \(calls[1])")
        ]
    }

    static func thousandLoops(_ effort: Effort) throws -> [Figure] {
        let count = 1000
        let interval: Int64 = 100_000_000
        let window = effort(5, quick: 2)
        // One is started after the other.
        let delays = [Int64](repeating: 0, count: count)
        let starts = (0..<count).map { Int64($0) * 2_000 }
        let hasGo = GoReference.isBuilt
        var contenders = [
            { try useOfLoops(phases: delays, interval: interval, seconds: window) },
            { try useOfHeap(phases: starts, interval: interval, seconds: window) },
            { try useOfLoops(phases: delays, interval: interval, tolerance: .milliseconds(1), seconds: window) },
        ]
        if hasGo { contenders.append { try useOfTickers(count: count, interval: interval, seconds: window) } }
        let rounds = try Rounds.run(effort(5, quick: 2), contenders)
        let calls = rounds.map { Text.fixed(Statistics.median($0.map(\.callsPerSecond)), digits: 0) }
        let name = "\(count) looping calls of 100 ms, cooperative"
        let use = rounds[0].map(\.processors)
        var figures = [
            Figure(
                name, in: .processors, use, against: ("heap and clock_nanosleep in C", rounds[1].map(\.processors)),
                note: hasGo ? nil : GoReference.missing)
        ]
        if hasGo {
            figures.append(
                Figure(
                    "\(name), again", in: .processors, use, against: ("tickers in Go", rounds[3].map(\.processors)),
                    limit: .ratioAtMost(1), note: "calls per second: \(calls[0]), reference \(calls[3])"))
            // Go's poller counts in milliseconds.
            figures.append(
                Figure(
                    "\(name), with a tolerance of 1 ms", in: .processors, rounds[2].map(\.processors),
                    against: ("tickers in Go", rounds[3].map(\.processors))))
        }
        return figures
    }

    private static func useOfTickers(count: Int, interval: Int64, seconds: Int) throws -> Use {
        let window = Int64(seconds) * 1_000_000_000
        let figures = try GoReference.run("loops", "\(count)", "\(interval)", "\(2 * interval)", "\(window)")
        guard figures.count == 3 else { throw BenchmarkError("muster-bench-go wrote \(figures.count) numbers, not 3") }
        return Use(processors: figures[0] / figures[1], callsPerSecond: figures[2] / figures[1] * 1e9)
    }

    private struct Use {
        var processors: Double
        var callsPerSecond: Double
    }

    /// - Parameter phases: How long after its start each loop runs first; the window begins after two intervals.
    private static func useOfLoops(
        phases: [Int64], interval: Int64, tolerance: Duration? = nil, seconds: Int
    ) throws -> Use {
        let backend = try Backends.make(.cooperative)
        defer { try? Backends.shutDown(backend) }
        let calls = CallCount(slots: phases.count)
        var loops: [FixedIntervalLoopingCall] = []
        for (slot, phase) in phases.enumerated() {
            let loop = FixedIntervalLoopingCall(name: "bench", backend: backend) { calls.count(in: slot) }
            try loop.start(
                interval: .nanoseconds(interval), initialDelay: .nanoseconds(phase), tolerance: tolerance)
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

/// When something woke, and when it was due.
struct WakingGrid: Sendable {
    let interval: Int64
    /// Instants in nanoseconds, in pairs.
    let due: [Int64]
    let woken: [Int64]

    /// How late each waking was for its own due instant.
    var latenesses: [Int64] { zip(woken, due).map { $0 - $1 } }

    /// How far the due instants have moved from the grid that the first of them began.
    var slipped: Int64 {
        guard let first = due.first, let last = due.last else { return 0 }
        return last - first - Int64(due.count - 1) * interval
    }

    /// How far each waking was from the grid that the first due instant began.
    private var offsets: [Int64] {
        guard let first = due.first else { return [] }
        return woken.enumerated().map { $0.element - first - Int64($0.offset) * interval }
    }

    /// The lowest tenth's end of the last tenth of the run: a grid that has moved takes its most punctual wakings
    /// along, while neighbours hold up only some.
    var endDrift: Double {
        Statistics.quantile(0.1, of: offsets.suffix(max(1, offsets.count / 10)))
    }

    /// The same of the second half, minus that of the first.
    var driftGrowth: Double {
        let offsets = offsets
        let half = offsets.count / 2
        return Statistics.quantile(0.1, of: offsets.suffix(half)) - Statistics.quantile(0.1, of: offsets.prefix(half))
    }
}

/// Wakings of one looping call.
///
/// Sound as `@unchecked Sendable`: only the loop's runs, which never overlap, write, and it is read after the loop's end.
final class WakingRecorder: @unchecked Sendable {
    private let interval: Int64
    private let capacity: Int
    private let due: UnsafeMutablePointer<Int64>
    private let woken: UnsafeMutablePointer<Int64>
    private var count = 0

    init(interval: Int64, capacity: Int) {
        self.interval = interval
        self.capacity = capacity
        due = .allocate(capacity: capacity)
        woken = .allocate(capacity: capacity)
        // Touched, so that no page is missing when it is written to.
        due.initialize(repeating: 0, count: capacity)
        woken.initialize(repeating: 0, count: capacity)
    }

    deinit {
        due.deallocate()
        woken.deallocate()
    }

    /// Notes a waking.
    ///
    /// - Returns: Whether more are wanted.
    func record(woken instant: Int64, due deadline: Int64) -> Bool {
        woken[count] = instant
        due[count] = deadline
        count += 1
        return count < capacity
    }

    var grid: WakingGrid {
        WakingGrid(
            interval: interval, due: Array(UnsafeBufferPointer(start: due, count: count)),
            woken: Array(UnsafeBufferPointer(start: woken, count: count)))
    }
}

/// The system's clock, which remembers until when was slept last: that is when a looping call's run was due.
final class WitnessClock: RuntimeClock {
    private let deadline = Atomic<Int64>(0)

    var now: MonotonicInstant { .now }

    /// When the latest sleep was to end, in nanoseconds; 0 before the first.
    var lastDeadline: Int64 { deadline.load(ordering: .relaxed) }

    func forget() {
        deadline.store(0, ordering: .relaxed)
    }

    func sleep(until deadline: MonotonicInstant, tolerance: Duration) async throws(CancellationError) {
        self.deadline.store(deadline.nanoseconds, ordering: .relaxed)
        try await SystemClock().sleep(until: deadline, tolerance: tolerance)
    }
}

/// A looping call of a backend, whose every run notes when it began, as its first instruction, and when it was due.
final class WitnessedLoop {
    private let clock = WitnessClock()
    private let backend: Backend
    private let overrun: OverrunPolicy

    init(_ type: BackendType, overrun: OverrunPolicy = .delay) throws {
        self.overrun = overrun
        backend = try Backends.make(type, clock: clock)
    }

    /// Runs a looping call a number of times.
    func run(interval: Int64, count: Int) throws -> WakingGrid {
        try start(interval: interval, count: count)()
    }

    /// Starts a looping call that ends after a number of runs.
    func start(interval: Int64, count: Int) throws -> () throws -> WakingGrid {
        let recorder = WakingRecorder(interval: interval, capacity: count)
        let clock = clock
        clock.forget()
        let loop = FixedIntervalLoopingCall(name: "bench", overrun: overrun, backend: backend) {
            let now = MonotonicInstant.now.nanoseconds
            let due = clock.lastDeadline
            // The first run follows the start at once; it was not slept for.
            guard due != 0 else { return }
            guard recorder.record(woken: now, due: due) else { throw LoopingCallDone() }
        }
        try loop.start(interval: .nanoseconds(interval))
        return {
            _ = try Blocking.run { try await loop.wait() }
            return recorder.grid
        }
    }

    func shutDown() {
        try? Backends.shutDown(backend)
    }
}

/// A C thread that does nothing but wake on a grid.
enum BareLoop {
    /// The slack that Linux gives to a process, in nanoseconds.
    static let defaultSlack: Int64 = 50_000

    /// Starts it.
    ///
    /// - Parameters:
    ///   - interval: The grid's step in nanoseconds.
    ///   - count: How often it wakes.
    ///   - slack: How late its timers may be made to fire, in nanoseconds.
    /// - Returns: Waits for its end, and returns its wakings and the slack that it got.
    static func start(interval: Int64, count: Int, slack: Int64) throws -> () throws -> (WakingGrid, Int64) {
        try Blocking.startThread {
            let reached = cmusterbench_set_timer_slack(slack)
            let origin = cmusterbench_now()
            var woken = [Int64](repeating: 0, count: count)
            cmusterbench_periodic(origin, interval, count, &woken)
            let due = (1...count).map { origin + Int64($0) * interval }
            return (WakingGrid(interval: interval, due: due, woken: woken), reached)
        }
    }
}
