// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterExecution
import MusterLock
import MusterMetrics
public import MusterPlatform
import Synchronization

/// A function that is called again and again.
///
/// All looping calls have a name, run as one job of the backend that they were created for, never overlap
/// themselves, and export their lateness, drift, runs, failures and overruns. While one is stopped it holds no
/// thread.
///
/// Sound as `@unchecked Sendable`: it and its subclasses, which are all in this module, have constants and locked state.
public class LoopingCall: @unchecked Sendable {
    /// The loop's name, the value of the label `loop`.
    public let name: String

    private let stallLimit: Duration?
    private let chosenBackend: Backend?
    /// The latest life.
    private let current = Locked<LoopRun?>(nil)

    init(name: String, stallLimit: Duration?, backend: Backend?) {
        self.name = name
        self.stallLimit = stallLimit
        chosenBackend = backend
    }

    /// Whether the loop has been started and has not ended.
    package var isRunning: Bool { current.withLock { $0 }.map { $0.completion.value == nil } ?? false }

    /// How the last life of the loop ended; `nil` while it runs and before its first start.
    package var outcome: Result<LoopEnd, any Error>? { current.withLock { $0 }?.completion.value }

    /// The loop's job, while it runs.
    package var job: Job? { current.withLock { $0 }?.job }

    /// Ends the loop: at once while it waits, and after the present run while its function runs. Stopping a loop
    /// that does not run changes nothing.
    public func stop() {
        current.withLock { $0 }?.stop()
    }

    /// Waits for the end of the loop.
    ///
    /// - Parameter deadline: The latest instant; `nil` waits without end.
    /// - Throws: The error that ended the loop; `LoopingCallError/notStarted(loop:)` before the first start;
    ///   `TimeLimitExceeded` at the deadline; `CancellationError` when the waiting task is cancelled.
    @discardableResult
    public func wait(until deadline: MonotonicInstant? = nil) async throws -> LoopEnd {
        guard let run = current.withLock({ $0 }) else { throw LoopingCallError.notStarted(loop: name) }
        let backend = try chosenBackend ?? Backend.current
        let operation = "looping call '\(name)'"
        let result = try await run.completion.wait(until: deadline, clock: backend.engine.clock, operation: operation)
        backend.loops.forget(name, life: run)
        return try result.get()
    }

    /// The application is done with the loop: should it have ended with an error, nothing warns of that any more.
    func acknowledgeEnd() {
        guard let run = current.withLock({ $0 }), run.completion.value != nil else { return }
        try? (chosenBackend ?? Backend.current).loops.forget(name, life: run)
    }

    // MARK: One life

    /// Starts the loop as a job.
    ///
    /// - Parameters:
    ///   - plan: When it runs.
    ///   - tolerance: How late a run may begin; `nil` for a thousandth of the wait before it, 1 ms at most.
    ///   - stopsOnError: Whether an error of the function ends the loop.
    ///   - group: The thread group that the job belongs to, if any.
    ///   - limit: How many functions of the loops that share it run at a time; `nil` for as many as there are.
    ///   - before: What the job waits for before the loop begins.
    ///   - function: What to call.
    /// - Throws: `LoopingCallError/alreadyRunning(loop:)`; what selecting the backend or starting a job throws.
    func begin<Plan: LoopPlan>(
        _ plan: Plan, tolerance: Duration?, stopsOnError: Bool, in group: ThreadGroup? = nil, limit: RunLimit? = nil,
        before: (@Sendable () async throws -> Void)? = nil,
        _ function: @escaping @Sendable () async throws -> Plan.Output
    ) throws {
        let backend = try chosenBackend ?? Backend.current
        backend.tracing.refresh()
        let run = LoopRun()
        let (isFree, previous) = current.withLock { current in
            if let current, current.completion.value == nil { return (false, current as LoopRun?) }
            defer { current = run }
            return (true, current)
        }
        guard isFree else { throw LoopingCallError.alreadyRunning(loop: name) }
        let body: @Sendable () async throws -> Void = { [self] in
            do {
                try await before?()
            } catch let done as LoopingCallDone {
                return run.end(.success(.done(done.value)))
            }
            try await drive(
                plan, tolerance: tolerance, run: run, limit: limit, backend: backend, stopsOnError: stopsOnError,
                function)
        }
        let job: Job
        do {
            job = try group?.enter(self, body) ?? backend.engine.spawn(name: name, body)
        } catch {
            current.withLock { $0 = previous }
            // For whoever has begun to wait meanwhile.
            run.end(.failure(error))
            throw error
        }
        run.adopt(job)
        // A job that is cancelled before it begins never runs its body.
        job.link { _ in run.end(.success(.stopped)) }
    }

    // MARK: The loop

    private func drive<Plan: LoopPlan>(
        _ plan: Plan, tolerance: Duration?, run: LoopRun, limit: RunLimit?, backend: Backend, stopsOnError: Bool,
        _ function: @Sendable () async throws -> Plan.Output
    ) async throws {
        let instruments = makeInstruments(backend, backsOff: plan.backsOff)
        var plan = plan
        let now = backend.engine.clock.now
        let due = plan.begin(at: now)
        instruments.began(interval: plan.interval, due: plan.nextRun ?? due)
        let progress = LoopProgress(loop: name, stallLimit: stallLimit, engine: backend.engine, expected: due)
        backend.loops.add(progress)
        let result: Result<LoopEnd, any Error>
        do {
            let sleeper = LoopSleeper(clock: backend.engine.clock)
            let end = try await withTaskCancellationHandler {
                try await LoopProgress.$current.withValue(progress) {
                    try await cycle(
                        plan, tolerance: tolerance, due: due, isImmediate: due <= now, run: run, limit: limit,
                        sleeper: sleeper, progress: progress, instruments: instruments, backend: backend,
                        stopsOnError: stopsOnError,
                        function)
                }
            } onCancel: {
                sleeper.cancel()
            }
            result = .success(end)
        } catch {
            result = .failure(error)
            backend.loops.ended(name, life: run, error: error)
        }
        backend.loops.remove(progress)
        instruments.ended()
        run.end(result)
        _ = try result.get()
    }

    // Called and calling without a change of executor, for which the runtime would look up the task's each time.
    private nonisolated(nonsending) func cycle<Plan: LoopPlan>(
        _ initial: Plan, tolerance: Duration?, due first: MonotonicInstant, isImmediate: Bool, run: LoopRun,
        limit: RunLimit?,
        sleeper: LoopSleeper, progress: LoopProgress, instruments: LoopInstruments, backend: Backend,
        stopsOnError: Bool, _ function: @Sendable () async throws -> Plan.Output
    ) async throws -> LoopEnd {
        let clock = backend.engine.clock
        var plan = initial
        var due = first
        var mustSleep = !isImmediate
        var wasOverrun = false
        let usual = tolerance ?? plan.interval.map(Self.usualTolerance)
        while true {
            if mustSleep {
                guard run.mayWait() else { return .stopped }
                // An instant in the past lets other jobs run and goes on.
                let tolerance = usual ?? Self.usualTolerance(of: clock.now.duration(to: due))
                guard await sleeper.sleep(until: due, tolerance: tolerance) else { return .stopped }
                if plan.wakesEarly, let later = plan.postponed(at: clock.now) {
                    due = later
                    progress.expected = later
                    if let next = plan.nextRun { instruments.postponed(to: next) }
                    continue
                }
            }
            mustSleep = true
            if let limit {
                guard (try? await limit.enter()) != nil else { return .stopped }
            }
            defer { limit?.leave() }
            guard run.mayRun() else { return .stopped }
            let began = clock.now
            let start = plan.runBegan(at: began)
            progress.expected = start.nextDue
            let span =
                backend.tracing.isOn
                ? RuntimeSpan(name, attributes: ["muster.loop": name, "muster.backend": backend.type.rawValue]) : nil
            let nextRun = RuntimeSpan.within(span) { instruments.runBegan(start, at: began) }
            var output: Plan.Output?
            do {
                // Not by a closure, which every run would pay for.
                output = span == nil ? try await function() : try await RuntimeSpan.within(span, function)
            } catch let done as LoopingCallDone {
                RuntimeSpan.within(span) { instruments.runEnded(took: began.duration(to: clock.now)) }
                span?.end()
                return .done(done.value)
            } catch is CancellationError where Task.isCancelled {
                span?.end()
                return .stopped
            } catch {
                span?.end(error)
                instruments.runFailed()
                backend.logger.error("looping call failed", metadata: ["loop": "\(name)", "error": "\(error)"])
                if stopsOnError {
                    instruments.runEnded(took: began.duration(to: clock.now))
                    throw error
                }
            }
            let ended = clock.now
            RuntimeSpan.within(span) { instruments.runEnded(took: began.duration(to: ended)) }
            // One that has failed has ended.
            if output != nil { span?.end() }
            if run.isStopping { return .stopped }
            let end = try plan.runEnded(at: ended, output: output)
            let known = end.due == start.nextDue ? nextRun : plan.nextRun.map { WallClock.secondsSinceEpoch(at: $0) }
            instruments.scheduled(end, nextRun: known, interval: plan.interval, drift: plan.drift)
            due = end.due
            progress.expected = due
            if let overrun = end.overrun {
                // The first of a row is worth a line; the counter has them all.
                backend.logger.log(
                    level: wasOverrun ? .debug : .warning, "looping call outlasted its interval",
                    metadata: ["loop": "\(name)", "by": "\(overrun)"])
            }
            wasOverrun = end.overrun != nil
        }
    }

    /// How late a run may begin unless the loop was started with a tolerance of its own.
    private static func usualTolerance(of wait: Duration) -> Duration {
        min(max(.zero, wait / 1000), .milliseconds(1))
    }

    private func makeInstruments(_ backend: Backend, backsOff: Bool) -> LoopInstruments {
        do {
            return try backend.loops.instruments(of: name, backsOff: backsOff, backend: backend)
        } catch {
            backend.logger.error(
                "looping call is not exported", metadata: ["loop": "\(name)", "error": "\(error)"])
        }
        do {
            return LoopInstruments(
                try LoopFamilies(registry: .discarding()), loop: name, backend: backend.type.rawValue,
                backsOff: backsOff)
        } catch {
            // An empty registry cannot clash with anything.
            preconditionFailure("a fresh registry refused Muster's own metrics: \(error)")
        }
    }
}

/// How a loop's job sleeps on the engine's clock: on the machine's, without what each sleep would need to be cancelled.
private struct LoopSleeper: Sendable {
    private let clock: any RuntimeClock
    private let sleeper: EventLoop.Sleeper?

    /// To be called on the loop's job.
    init(clock: any RuntimeClock) {
        self.clock = clock
        sleeper = clock is SystemClock ? EventLoop.current.map { EventLoop.Sleeper(on: $0) } : nil
    }

    /// - Returns: `false` when the job is cancelled.
    nonisolated(nonsending) func sleep(until deadline: MonotonicInstant, tolerance: Duration) async -> Bool {
        if let sleeper, sleeper.isCurrent { return await sleeper.sleep(until: deadline, tolerance: tolerance) }
        do { try await clock.sleep(until: deadline, tolerance: tolerance) } catch { return false }
        return true
    }

    /// To be called when the job is cancelled.
    func cancel() {
        sleeper?.cancel()
    }
}

/// One life of a looping call, from a start to its end.
final class LoopRun: Sendable {
    /// Bits of the phase: the function runs; a stop was asked for, after which the other one stays.
    private static let running: UInt8 = 1
    private static let stopping: UInt8 = 2

    private struct State {
        var hasEnded = false
        var job: Job?
    }

    let completion = Completion<Result<LoopEnd, any Error>>()
    private let phase = Atomic<UInt8>(0)
    private let state = Locked(State())

    /// Whether the loop is to go on; the loop is waiting from then on.
    func mayWait() -> Bool { enter(0) }

    /// Whether the loop is to go on; its function is running from then on, and a stop lets it finish.
    func mayRun() -> Bool { enter(Self.running) }

    private func enter(_ next: UInt8) -> Bool {
        // Nothing but a stop can come in between.
        let present = phase.load(ordering: .relaxed)
        return present & Self.stopping == 0
            && phase.compareExchange(expected: present, desired: next, ordering: .acquiringAndReleasing).exchanged
    }

    /// Whether a stop was asked for.
    var isStopping: Bool { phase.load(ordering: .acquiring) & Self.stopping != 0 }

    /// The loop's job.
    var job: Job? { state.withLock { $0.job } }

    func adopt(_ job: Job) {
        let hasEnded = state.withLock { state in
            if !state.hasEnded { state.job = job }
            return state.hasEnded
        }
        // A stop before that has found no job.
        if !hasEnded, phase.load(ordering: .acquiring) == Self.stopping { job.cancel() }
    }

    /// Ends the loop: at once while it waits, after the present run otherwise.
    func stop() {
        guard phase.bitwiseOr(Self.stopping, ordering: .acquiringAndReleasing).oldValue == 0 else { return }
        job?.cancel()
    }

    func end(_ result: Result<LoopEnd, any Error>) {
        state.withLock { state in
            state.hasEnded = true
            state.job = nil
        }
        completion.complete(with: result)
    }
}

/// Thrown by a looping call's function to end the loop, with a value for whoever waits for it.
public struct LoopingCallDone: Error, BackendComponent {
    /// What `wait()` returns.
    public let value: any Sendable

    /// Creates the error.
    ///
    /// - Parameter value: What `wait()` returns, to be had in its type by ``LoopEnd/value(as:)``.
    public init(_ value: any Sendable = true) {
        self.value = value
    }
}

/// Why a looping call refused.
package enum LoopingCallError: Error, Hashable, Sendable, CustomStringConvertible {
    /// `start` of a loop that runs.
    case alreadyRunning(loop: String)
    /// `wait` of a loop that was never started.
    case notStarted(loop: String)
    /// An interval below the shortest one.
    case intervalTooShort(loop: String, interval: Duration, shortest: Duration)
    /// A dynamic loop's function returned no delay, and the loop has no longest one to take instead.
    case missingDelay(loop: String)
    /// The loop ended with a value of another type than was asked for.
    case otherValue(expected: String, found: String)

    package var description: String {
        switch self {
        case .alreadyRunning(let loop):
            "looping call '\(loop)' is running already: stop it, and wait for it, before it is started again"
        case .notStarted(let loop):
            "looping call '\(loop)' was never started, so there is nothing to wait for"
        case .intervalTooShort(let loop, let interval, let shortest):
            "looping call '\(loop)' has an interval of \(interval); it must be \(shortest) or more"
        case .missingDelay(let loop):
            """
            looping call '\(loop)' should supply either a delay (return one) or a maximumInterval (at its start)
            """
        case .otherValue(let expected, let found):
            """
            the looping call ended with a value of type \(found), not \(expected): ask for the type that it throws in \
            LoopingCallDone
            """
        }
    }
}

/// A looping call had a time-out, and it is over.
public struct LoopingCallTimeOut: Error, Hashable, BackendComponent, CustomStringConvertible {
    /// The loop's name.
    package let loop: String
    /// The time that the loop has taken, or, for a back-off, that it would have waited.
    package let elapsed: Duration

    package init(loop: String, elapsed: Duration) {
        self.loop = loop
        self.elapsed = elapsed
    }

    /// The loop and its time.
    public var description: String {
        "looping call '\(loop)' timed out after \(elapsed)"
    }
}

/// What a fixed-interval looping call does when a run has lasted beyond the start of the next.
///
/// A loop that wakes late, because its hub or the machine was busy, keeps its grid: ``burst`` and ``delay`` make up
/// for the starts that have passed, ``skip`` leaves them out. When ``delay`` wakes more than a second, and an interval
/// or more, too late, it does not make up for that but counts its grid from there.
public enum OverrunPolicy: String, Hashable, Sendable, CaseIterable {
    /// Makes up for every missed start, one right after the other, and is back on its grid then.
    case burst
    /// Runs at once and counts its grid from there: the schedule slips, which shows in
    /// `muster_loop_drift_seconds`. Upstream's behaviour.
    case delay
    /// Leaves the missed starts out and waits for the next point of its grid.
    case skip
}
