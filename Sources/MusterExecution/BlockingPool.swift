// SPDX-License-Identifier: Apache-2.0

import DequeModule
import MusterLock
package import MusterMetrics
package import MusterPlatform

/// A bounded pool of native threads for work that blocks. Threads start when they are needed and end after a while
/// without work; what finds no thread waits its turn.
package final class BlockingPool: Sendable {
    private struct Item: Sendable {
        let ticket: UInt64
        let submitted: MonotonicInstant
        let work: @Sendable () -> Void
        let refuse: @Sendable (any Error) -> Void
    }

    private struct State {
        var queue = Deque<Item>()
        var active = 0
        var lastTicket: UInt64 = 0
        /// Tickets whose item has not come in yet, and whether they were cancelled meanwhile.
        var entering: [UInt64: Bool] = [:]
    }

    private enum Entry {
        case start
        case queued
        case cancelled
    }

    private let limit: Int
    private let instruments: BlockingInstruments
    private let threadPool: ThreadPool
    private let state = Locked(State())

    /// Creates a pool without threads.
    ///
    /// - Parameters:
    ///   - limit: The most threads it may have; at least 1.
    ///   - keepAlive: How long an idle thread stays.
    ///   - stackSize: Each thread's stack in bytes.
    ///   - activity: Counts the threads' loops.
    ///   - instruments: The metrics it keeps up to date.
    package init(
        limit: Int, keepAlive: Duration, stackSize: Int, activity: LoopActivity? = nil, instruments: BlockingInstruments
    ) {
        self.limit = max(1, limit)
        self.instruments = instruments
        let threads = instruments.threads
        threadPool = ThreadPool(
            ThreadPool.Configuration(
                // The pool's own count of active threads is the limit.
                name: "muster-blocking", limit: .max, idleLimit: self.limit, keepAlive: keepAlive,
                stackSize: stackSize, activity: activity)
        ) { threads.set(Double($0)) }
        instruments.limit.set(Double(self.limit))
    }

    /// The native threads of the pool.
    package var threads: Int { threadPool.threads }

    /// Runs blocking work on one of the pool's threads.
    ///
    /// - Throws: What it throws; `CancellationError` when the task is cancelled before the work has begun;
    ///   ``EngineError`` when the pool has no thread and the system gives none.
    package func run<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
        let ticket = state.withLock { state in
            state.lastTicket += 1
            state.entering[state.lastTicket] = false
            return state.lastTicket
        }
        return try await withTaskCancellationHandler {
            try await withUnsafeThrowingContinuation { (continuation: UnsafeContinuation<Result, any Error>) in
                enter(
                    Item(
                        ticket: ticket, submitted: .now,
                        work: { continuation.resume(with: Swift.Result(catching: work)) },
                        refuse: { continuation.resume(throwing: $0) }))
            }
        } onCancel: {
            cancel(ticket)
        }
    }

    /// Ends the threads as they become idle.
    package func close() {
        threadPool.close()
    }

    private func enter(_ item: Item) {
        let entry: Entry = state.withLock { state in
            if state.entering.removeValue(forKey: item.ticket) == true { return .cancelled }
            guard state.active < limit else {
                state.queue.append(item)
                instruments.queueLength.set(Double(state.queue.count))
                return .queued
            }
            state.active += 1
            instruments.busy.set(Double(state.active))
            return .start
        }
        switch entry {
        case .queued: break
        case .cancelled: item.refuse(CancellationError())
        case .start: start(item)
        }
    }

    private func start(_ item: Item) {
        do {
            let loop = try threadPool.lease()
            loop.submit { [self] in
                serve(first: item, on: loop)
            }
        } catch {
            // Without a thread of its own the item may still be served by one that is at work. Where there is none,
            // what was queued in the meantime has nobody either.
            let refused: [Item] = state.withLock { state in
                state.active -= 1
                instruments.busy.set(Double(state.active))
                state.queue.append(item)
                var refused: [Item] = []
                if state.active == 0 {
                    refused = Array(state.queue)
                    state.queue.removeAll()
                }
                instruments.queueLength.set(Double(state.queue.count))
                return refused
            }
            for item in refused { item.refuse(error) }
        }
    }

    private func serve(first: Item, on loop: EventLoop) {
        var next: Item? = first
        while let item = next {
            instruments.tasks.increment()
            instruments.queueTime.observe(item.submitted.duration(to: .now).inSeconds)
            item.work()
            next = state.withLock { state in
                let item = state.queue.popFirst()
                instruments.queueLength.set(Double(state.queue.count))
                if item == nil {
                    state.active -= 1
                    instruments.busy.set(Double(state.active))
                    // Under the lock: whoever takes the place finds this thread instead of starting one more.
                    threadPool.release(loop)
                }
                return item
            }
        }
    }

    private func cancel(_ ticket: UInt64) {
        let item: Item? = state.withLock { state in
            guard let index = state.queue.firstIndex(where: { $0.ticket == ticket }) else {
                // What runs is let run.
                if state.entering[ticket] != nil { state.entering[ticket] = true }
                return nil
            }
            let item = state.queue.remove(at: index)
            instruments.queueLength.set(Double(state.queue.count))
            return item
        }
        item?.refuse(CancellationError())
    }
}

/// The metrics of a pool of threads for blocking work.
package struct BlockingInstruments: Sendable {
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
    package init(registry: MetricRegistry, backend: String) throws(MetricError) {
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
