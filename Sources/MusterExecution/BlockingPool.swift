// SPDX-License-Identifier: Apache-2.0

import Instrumentation
import MusterLock
public import MusterMetrics
package import MusterPlatform

/// A bounded pool of native threads for work that blocks: what an engine runs `runBlocking` with. Threads start when they
/// are needed and end after a while without work; what finds no thread waits its turn.
public final class BlockingPool: Sendable {
    private struct State {
        var pool: PoolState
        /// The calls in the queue, by their tickets.
        var calls: [UInt64: BlockingCall] = [:]

        /// Takes the first call of the queue for a free thread.
        mutating func next() -> (ticket: UInt64, call: BlockingCall)? {
            guard let ticket = pool.next(), let call = calls.removeValue(forKey: ticket) else { return nil }
            return (ticket, call)
        }
    }

    private enum Entry {
        case start(BlockingCall, UInt64)
        case queued
        case cancelled
    }

    private let instruments: BlockingInstruments
    private let threadPool: ThreadPool
    private let state: Locked<State>

    /// Creates a pool without threads.
    ///
    /// - Parameters:
    ///   - backend: The value of the label `backend` of its metrics.
    ///   - configuration: The limits.
    ///   - metrics: Where its metrics are kept.
    /// - Throws: `MetricError` when the application has taken the name of one of them.
    public convenience init(
        backend: String, configuration: EngineConfiguration = EngineConfiguration(), metrics: MetricRegistry
    ) throws(MetricError) {
        try self.init(backend: backend, configuration: configuration, metrics: metrics, activity: nil)
    }

    /// Creates a pool without threads.
    ///
    /// - Parameter activity: Counts the threads' loops.
    package init(
        backend: String, configuration: EngineConfiguration, metrics: MetricRegistry, activity: LoopActivity?
    ) throws(MetricError) {
        let limit = max(1, configuration.blockingThreadLimit)
        let instruments = try BlockingInstruments(registry: metrics, backend: backend)
        self.instruments = instruments
        state = Locked(State(pool: PoolState(size: .fixed(limit))))
        // The pool's own count of running calls is the limit of the threads.
        threadPool = ThreadPool(.init(name: "muster-blocking", idleLimit: limit, configuration, activity: activity)) {
            instruments.threads.set(Double($0))
        }
        instruments.limit.set(Double(limit))
    }

    /// The native threads of the pool.
    public var threads: Int { threadPool.threads }

    /// Runs blocking work on one of the pool's threads.
    ///
    /// - Throws: What it throws; `CancellationError` when the task is cancelled before the work has begun;
    ///   ``EngineError`` when the pool has no thread and the system gives none.
    public func run<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
        // The task's own values stay behind on its thread.
        let call: ResultCall<Result>
        if let context = ServiceContext.current {
            call = ResultCall { try ServiceContext.withValue(context, operation: work) }
        } else {
            call = ResultCall(work)
        }
        return try await withTaskCancellationHandler {
            try await withUnsafeThrowingContinuation { continuation in
                call.continuation = continuation
                enter(call)
            }
        } onCancel: {
            cancel(call)
        }
    }

    /// Ends the threads as they become idle.
    public func close() {
        threadPool.close()
    }

    private func enter(_ call: BlockingCall) {
        let entry: Entry = state.withLock { state in
            if call.isCancelled { return .cancelled }
            let (admission, ticket) = state.pool.submit()
            defer { export(state.pool) }
            if admission == .run { return .start(call, ticket) }
            call.ticket = ticket
            state.calls[ticket] = call
            // The first of the queue may have been refused a thread before.
            guard let (ticket, first) = state.next() else { return .queued }
            return .start(first, ticket)
        }
        switch entry {
        case .queued: break
        case .cancelled: call.refuse(CancellationError())
        case .start(let call, let ticket): start(call, ticket: ticket)
        }
    }

    private func start(_ call: BlockingCall, ticket: UInt64) {
        do {
            let loop = try threadPool.lease()
            loop.submit { [self] in
                serve(first: call, on: loop)
            }
        } catch {
            // Without a thread of its own the call may still be served by one that is at work. Where there is none,
            // what was queued in the meantime has nobody either.
            let refused = state.withLock { state in
                call.ticket = ticket
                state.calls[ticket] = call
                var refused = state.pool.cannotStart(ticket)
                // It had no ticket to be withdrawn by when it was cancelled.
                if call.isCancelled, state.pool.withdraw(ticket) { refused.append(ticket) }
                export(state.pool)
                return refused.compactMap { state.calls.removeValue(forKey: $0) }
            }
            for call in refused { call.refuse(call.isCancelled ? CancellationError() : error) }
        }
    }

    private func serve(first: BlockingCall, on loop: EventLoop) {
        var next: BlockingCall? = first
        while let call = next {
            instruments.tasks.increment()
            instruments.queueTime.observe(call.submitted.duration(to: .now).inSeconds)
            call.run()
            next = state.withLock { state in
                state.pool.finish()
                let call = state.next()?.call
                export(state.pool)
                // Under the lock: whoever takes the place finds this thread instead of starting one more.
                if call == nil { threadPool.release(loop) }
                return call
            }
        }
    }

    private func cancel(_ call: BlockingCall) {
        let isOut = state.withLock { state in
            call.isCancelled = true
            // What runs is let run.
            guard let ticket = call.ticket, state.pool.withdraw(ticket) else { return false }
            state.calls[ticket] = nil
            export(state.pool)
            return true
        }
        if isOut { call.refuse(CancellationError()) }
    }

    private func export(_ pool: PoolState) {
        instruments.busy.set(Double(pool.running))
        instruments.queueLength.set(Double(pool.queueLength))
    }
}

/// One call of a pool for blocking work.
///
/// Sound as `@unchecked Sendable`: `ticket` and `isCancelled` are under the pool's lock; the subclass' continuation is set
/// before the call is in the pool, and used once, by the thread that takes it out.
private class BlockingCall: @unchecked Sendable {
    let submitted = MonotonicInstant.now
    /// Once it is queued.
    var ticket: UInt64?
    var isCancelled = false

    func run() {}
    func refuse(_ error: any Error) {}
}

/// Sound as `@unchecked Sendable` for its superclass' reason.
private final class ResultCall<Result: Sendable>: BlockingCall, @unchecked Sendable {
    private let work: @Sendable () throws -> Result
    var continuation: UnsafeContinuation<Result, any Error>?

    init(_ work: @escaping @Sendable () throws -> Result) {
        self.work = work
    }

    override func run() { continuation?.resume(with: Swift.Result(catching: work)) }
    override func refuse(_ error: any Error) { continuation?.resume(throwing: error) }
}

/// The metrics of a pool of threads for blocking work.
private struct BlockingInstruments: Sendable {
    let threads: GaugeMetric
    let busy: GaugeMetric
    let limit: GaugeMetric
    let queueLength: GaugeMetric
    let tasks: CounterMetric
    let queueTime: HistogramMetric

    /// Registers the metrics.
    ///
    /// - Parameters:
    ///   - registry: Where to register them.
    ///   - backend: The value of the label `backend`.
    /// - Throws: `MetricError` when the application has taken one of the names for something else.
    init(registry: MetricRegistry, backend: String) throws(MetricError) {
        threads = try registry.gaugeFamily(
            "muster_blocking_pool_threads", help: "Native threads of the pool for blocking work.",
            labelNames: ["backend"]
        ).labels(backend)
        busy = try registry.gaugeFamily(
            "muster_blocking_pool_threads_busy", help: "Threads of the pool for blocking work that run a task.",
            labelNames: ["backend"]
        ).labels(backend)
        limit = try registry.gaugeFamily(
            "muster_blocking_pool_threads_limit", help: "The most threads that the pool for blocking work may have.",
            labelNames: ["backend"]
        ).labels(backend)
        queueLength = try registry.gaugeFamily(
            "muster_blocking_pool_queue_length", help: "Blocking tasks that wait for a thread.",
            labelNames: ["backend"]
        ).labels(backend)
        tasks = try registry.counterFamily(
            "muster_blocking_pool_tasks_total", help: "Blocking tasks started.", labelNames: ["backend"]
        ).labels(backend)
        queueTime = try registry.histogramFamily(
            "muster_blocking_pool_queue_seconds", help: "How long blocking tasks waited for a thread.",
            unit: .seconds, buckets: .preciseSeconds, labelNames: ["backend"]
        ).labels(backend)
        for gauge in [threads, busy, queueLength] { gauge.set(0) }
    }
}
