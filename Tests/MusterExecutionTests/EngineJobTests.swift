// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterMetrics
import MusterPlatform
import MusterTestKit
import MusterTestSupport
import Testing

/// What every engine has to do, on both of Muster's.
@Suite(.timeLimit(.minutes(3))) struct EngineJobTests {
    @Test(arguments: EngineKind.allCases, EngineConformance.checks())
    func `the engine conforms`(kind: EngineKind, check: EngineConformance) async throws {
        try await check.run(within: .seconds(170)) { try kind.make(registry: $0) }
    }

    @Test(arguments: EngineKind.allCases)
    func `the body of a job that is cancelled before its start never runs`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let blocker = try await Blocker(engine)
            let ran = Counter()
            let job = try engine.spawn(name: "never") { ran.add() }
            #expect(job.state == .queued && engine.census.queued == 1)
            job.cancel()
            #expect(job.state == .stopping && engine.census.queued == 0 && engine.census.stopping == 1)
            blocker.goOn()
            guard case .cancelled = try await job.wait() else {
                Issue.record("it was not cancelled")
                return
            }
            #expect(ran.value == 0 && engine.census.jobs == 0)
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `blocking work runs in place, or on a thread of the pool`(kind: EngineKind) async throws {
        try await withEngine(kind) { engine in
            let job = try engine.spawn(name: "blocking") {
                let thread = NativeThread.currentIdentifier
                let worker = try await engine.runBlocking { NativeThread.currentIdentifier }
                return (worker == thread) == (kind == .threading) && NativeThread.currentIdentifier == thread
            }
            #expect(try await job.result())
        }
    }

    @Test(arguments: EngineKind.allCases)
    func `a result has its type, be it nothing, an optional or large, and a job knows itself`(
        kind: EngineKind
    ) async throws {
        try await withEngine(kind) { engine in
            #expect(try await engine.spawn(name: "nil") { nil as Int? }.result() == nil)
            #expect(try await engine.spawn(name: "some") { 1 as Int?? }.result() == 1)
            #expect(try await engine.spawn(name: "none") { .some(.none) as Int?? }.result() == .some(.none))
            #expect(try await engine.spawn(name: "many") { Array(repeating: "a", count: 1000) }.result().count == 1000)
            #expect(try await engine.spawn(name: "any") { 7 as any Sendable }.result() as? Int == 7)
            let job = try engine.spawn(name: "itself") {
                async let child = Job.current
                let task = Task { Job.current }
                return (Job.current, await child, await task.value)
            }
            let (own, child, task) = try await job.result()
            #expect(own === job && child === job && task === job)
            #expect(Job.current == nil)
            let cancelled = try engine.spawn(name: "cancelled") { try await engine.sleep(for: .seconds(60)) }
            cancelled.cancel()
            await #expect(throws: CancellationError.self) { try await cancelled.result() }
        }
    }

    // MARK: The suite itself

    enum Defect: String, CaseIterable {
        case otherName, earlyClock, blocksInPlace, losesErrors, wanders, keepsThreads, deaf
    }

    @Test(arguments: Defect.allCases)
    func `a defect is told`(defect: Defect) async throws {
        var faults: [String] = []
        for check in EngineConformance.checks() where Self.finds(defect, check) {
            do {
                try await check.run(within: .milliseconds(defect == .deaf ? 20 : 60_000)) { metrics in
                    try DefectiveEngine(defect, metrics: metrics)
                }
            } catch let fault as EngineConformance.Fault {
                faults.append(fault.description)
            }
        }
        let text = faults.joined(separator: "\n")
        let expected =
            switch defect {
            case .otherName: "is the ledger the engine's?"
            case .earlyClock: "a sleep of 2 ms took"
            case .blocksInPlace: "blocking work of a cancelled task throws no CancellationError"
            case .losesErrors: "the error of blocking work is lost"
            case .wanders: "a job was on another thread after"
            case .keepsThreads: "an engine without a job has threads"
            case .deaf: "something was not over after"
            }
        #expect(text.contains(expected), "\(text)")
    }

    /// Only what is needed: some of the others wait for what a defective engine never does.
    private static func finds(_ defect: Defect, _ check: EngineConformance) -> Bool {
        let part =
            switch defect {
            case .otherName: "the series"
            case .earlyClock: "sleeps as long"
            case .blocksInPlace: "blocking work of a cancelled task"
            case .losesErrors: "its result or its error, to jobs"
            case .wanders: "is back on its thread"
            case .keepsThreads: "was never used"
            case .deaf: "has the result"
            }
        return check.description.contains(part)
    }
}

/// An engine that does one thing wrong.
private final class DefectiveEngine: ExecutionEngine {
    let name = "defective"
    let ledger: JobLedger
    let clock: any RuntimeClock
    private let defect: EngineJobTests.Defect
    private let blocking: BlockingPool
    private let loop: EventLoop

    init(_ defect: EngineJobTests.Defect, metrics: MetricRegistry) throws {
        self.defect = defect
        ledger = try JobLedger(backend: defect == .otherName ? "other" : name, metrics: metrics)
        clock = defect == .earlyClock ? EarlyClock() : SystemClock()
        blocking = try BlockingPool(backend: name, metrics: metrics)
        loop = try EventLoop(name: "defective") { $0.startThread(name: "defective") }
    }

    func placeJob(named name: String) -> EngineExecutor {
        switch defect {
        case .wanders: EngineExecutor(executor: globalConcurrentExecutor)
        case .deaf: EngineExecutor(executor: DeafExecutor())
        default: EngineExecutor(executor: loop)
        }
    }

    func runBlocking<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
        if defect == .blocksInPlace { return try work() }
        do {
            return try await blocking.run(work)
        } catch  where defect == .losesErrors {
            throw CancellationError()
        }
    }

    var nativeThreads: Int { defect == .keepsThreads ? 1 : 0 }
    var stalledTime: Duration { .zero }

    func releaseThreads() {
        blocking.close()
        loop.stop()
    }
}

private struct EarlyClock: RuntimeClock {
    var now: MonotonicInstant { .now }

    nonisolated(nonsending)
        func sleep(until deadline: MonotonicInstant, tolerance: Duration) async throws(CancellationError)
    {
        if Task.isCancelled { throw CancellationError() }
    }
}

/// Never runs anything.
private final class DeafExecutor: TaskExecutor {
    func enqueue(_ job: consuming ExecutorJob) {}
}
