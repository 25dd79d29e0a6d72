// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterExecution
import MusterMetrics
import MusterPlatform

/// Runs a function as its plan says: what all looping calls have in common.
final class LoopDriver: Sendable {
    let name: String
    private let stallLimit: Duration?
    private let chosenBackend: Backend?
    private let current = Locked<LoopRun?>(nil)

    init(name: String, stallLimit: Duration?, backend: Backend?) {
        self.name = name
        self.stallLimit = stallLimit
        chosenBackend = backend
    }

    /// Starts the loop as a job.
    ///
    /// - Parameters:
    ///   - plan: When it runs.
    ///   - stopsOnError: Whether an error of the function ends the loop.
    ///   - group: The thread group that the job belongs to, if any.
    ///   - timer: The looping call.
    ///   - function: What to call.
    /// - Throws: ``LoopingCallError/alreadyRunning(loop:)``; what selecting the backend or starting a job throws.
    func start<Plan: LoopPlan>(
        _ plan: Plan, stopsOnError: Bool, in group: ThreadGroup? = nil, of timer: LoopingCall,
        _ function: @escaping @Sendable () async throws -> Plan.Output
    ) throws {
        let backend = try chosenBackend ?? Backend.current
        let run = LoopRun()
        let (isFree, previous) = current.withLock { current in
            if let current, current.completion.value == nil { return (false, current as LoopRun?) }
            defer { current = run }
            return (true, current)
        }
        guard isFree else { throw LoopingCallError.alreadyRunning(loop: name) }
        let body: @Sendable () async throws -> Void = { [self] in
            try await drive(plan, run: run, backend: backend, stopsOnError: stopsOnError, function)
        }
        let job: Job
        do {
            job = try group?.enter(timer, body) ?? backend.engine.spawn(name: name, body)
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

    func stop() {
        current.withLock { $0 }?.stop()
    }

    var isRunning: Bool {
        guard let run = current.withLock({ $0 }) else { return false }
        return run.completion.value == nil
    }

    var job: Job? { current.withLock { $0 }?.job }

    var outcome: Result<LoopEnd, any Error>? { current.withLock { $0 }?.completion.value }

    func wait(until deadline: MonotonicInstant?) async throws -> LoopEnd {
        guard let run = current.withLock({ $0 }) else { throw LoopingCallError.notStarted(loop: name) }
        let clock = try (chosenBackend ?? Backend.current).engine.clock
        let operation = "looping call '\(name)'"
        return try await run.completion.wait(until: deadline, clock: clock, operation: operation).get()
    }

    // MARK: The loop

    private func drive<Plan: LoopPlan>(
        _ plan: Plan, run: LoopRun, backend: Backend, stopsOnError: Bool,
        _ function: @Sendable () async throws -> Plan.Output
    ) async throws {
        let instruments = makeInstruments(backend)
        var plan = plan
        let now = backend.engine.clock.now
        let due = plan.begin(at: now)
        instruments.began(interval: plan.interval, due: due)
        let progress = LoopProgress(loop: name, stallLimit: stallLimit, expected: due)
        backend.loops.add(progress)
        let result: Result<LoopEnd, any Error>
        do {
            result = .success(
                try await cycle(
                    plan, due: due, isImmediate: due <= now, run: run, progress: progress,
                    instruments: instruments, backend: backend, stopsOnError: stopsOnError, function))
        } catch {
            result = .failure(error)
        }
        backend.loops.remove(progress)
        instruments.ended()
        run.end(result)
        _ = try result.get()
    }

    private func cycle<Plan: LoopPlan>(
        _ initial: Plan, due first: MonotonicInstant, isImmediate: Bool, run: LoopRun, progress: LoopProgress,
        instruments: LoopInstruments, backend: Backend, stopsOnError: Bool,
        _ function: @Sendable () async throws -> Plan.Output
    ) async throws -> LoopEnd {
        let clock = backend.engine.clock
        var plan = initial
        var due = first
        var mustSleep = !isImmediate
        var wasOverrun = false
        while true {
            if mustSleep {
                guard run.mayWait() else { return .stopped }
                // An instant in the past lets other jobs run and goes on.
                do { try await clock.sleep(until: due) } catch { return .stopped }
            }
            mustSleep = true
            guard run.mayRun() else { return .stopped }
            let began = clock.now
            let start = plan.runBegan(at: began)
            progress.expected = start.nextDue
            instruments.runBegan(start, at: began)
            var output: Plan.Output?
            do {
                output = try await function()
            } catch let done as LoopingCallDone {
                instruments.runEnded(took: began.duration(to: clock.now))
                return .done(done.value)
            } catch is CancellationError where Task.isCancelled {
                return .stopped
            } catch {
                instruments.runFailed()
                backend.logger.error("looping call failed", metadata: ["loop": "\(name)", "error": "\(error)"])
                if stopsOnError {
                    instruments.runEnded(took: began.duration(to: clock.now))
                    throw error
                }
            }
            let ended = clock.now
            instruments.runEnded(took: began.duration(to: ended))
            if run.isStopping { return .stopped }
            let end = try plan.runEnded(at: ended, output: output)
            instruments.scheduled(end, interval: plan.interval, drift: plan.drift)
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

    private func makeInstruments(_ backend: Backend) -> LoopInstruments {
        let type = backend.type.rawValue
        do {
            return try LoopInstruments(registry: backend.metrics, loop: name, backend: type)
        } catch {
            backend.logger.error(
                "looping call is not exported", metadata: ["loop": "\(name)", "error": "\(error)"])
        }
        do {
            return try LoopInstruments(registry: .discarding(), loop: name, backend: type)
        } catch {
            // An empty registry cannot clash with anything.
            preconditionFailure("a fresh registry refused Muster's own metrics: \(error)")
        }
    }
}

/// One life of a looping call, from a start to its end.
final class LoopRun: Sendable {
    private enum Phase {
        case waiting
        case running
        case ended
    }

    private struct State {
        var phase = Phase.waiting
        var isStopping = false
        var job: Job?
    }

    let completion = Completion<Result<LoopEnd, any Error>>()
    private let state = Locked(State())

    /// Whether the loop is to go on; the loop is waiting from then on.
    func mayWait() -> Bool { enter(.waiting) }

    /// Whether the loop is to go on; its function is running from then on, and a stop lets it finish.
    func mayRun() -> Bool { enter(.running) }

    private func enter(_ phase: Phase) -> Bool {
        state.withLock { state in
            guard !state.isStopping else { return false }
            state.phase = phase
            return true
        }
    }

    /// Whether a stop was asked for.
    var isStopping: Bool { state.withLock { $0.isStopping } }

    /// The loop's job.
    var job: Job? { state.withLock { $0.job } }

    func adopt(_ job: Job) {
        let mustCancel = state.withLock { state in
            guard state.phase != .ended else { return false }
            state.job = job
            return state.isStopping && state.phase == .waiting
        }
        if mustCancel { job.cancel() }
    }

    /// Ends the loop: at once while it waits, after the present run otherwise.
    func stop() {
        let job: Job? = state.withLock { state in
            guard !state.isStopping else { return nil }
            state.isStopping = true
            return state.phase == .waiting ? state.job : nil
        }
        job?.cancel()
    }

    func end(_ result: Result<LoopEnd, any Error>) {
        state.withLock { state in
            state.phase = .ended
            state.job = nil
        }
        completion.complete(with: result)
    }
}
