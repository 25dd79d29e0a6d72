// SPDX-License-Identifier: Apache-2.0

package import MusterMetrics
package import MusterPlatform

/// All jobs on one thread, the *hub*: they take turns at each `await`, and a job that blocks stalls them all.
package final class CooperativeEngine: ExecutionEngine {
    /// The engine's name.
    package let name: String
    /// The clock that jobs sleep on.
    package let clock: any RuntimeClock
    /// The jobs alive.
    package let ledger: JobLedger
    /// The event loop that runs all jobs.
    package let hub: EventLoop

    private let blocking: BlockingPool

    /// Creates the engine. Its hub gets a thread with the first job, unless a thread has claimed it by then.
    ///
    /// - Parameters:
    ///   - name: The value of the label `backend`.
    ///   - configuration: The limits.
    ///   - metrics: Where the engine's metrics are kept.
    ///   - clock: The clock that jobs sleep on.
    /// - Throws: `MetricError` when the application has taken the name of one of the engine's metrics;
    ///   `SystemError` when no event loop can be made.
    package init(
        name: String = "cooperative", configuration: EngineConfiguration = EngineConfiguration(),
        metrics: MetricRegistry = .shared, clock: any RuntimeClock = SystemClock()
    ) throws {
        self.name = name
        self.clock = clock
        ledger = JobLedger(instruments: try JobInstruments(registry: metrics, backend: name))
        let activity = (clock as? any ManuallyMovedClock)?.activity
        hub = try EventLoop(
            name: "muster-hub", observer: try HubInstruments(registry: metrics, backend: name), activity: activity
        ) { loop in
            loop.startThread(name: "muster-hub")
        }
        blocking = try BlockingPool(
            backend: name, configuration: configuration, metrics: metrics, activity: activity)
    }

    package var sharedExecutor: (any TaskExecutor)? { hub }

    /// Chooses the hub.
    package func placeJob(named name: String) throws(EngineError) -> EngineExecutor {
        EngineExecutor(executor: hub)
    }

    /// Runs blocking work on a thread of the helper pool; called by a thread that is no job's, likewise.
    ///
    /// - Throws: What it throws; `CancellationError` when the task is cancelled before the work has begun.
    package func runBlocking<Result: Sendable>(
        _ work: @escaping @Sendable () throws -> Result
    ) async throws -> Result {
        try await blocking.run(work)
    }

    /// The hub's thread, once there is one, and those of the helper pool.
    package var nativeThreads: Int { (hub.isRunning ? 1 : 0) + blocking.threads }

    /// For how long the hub has been in its present turn.
    package var stalledTime: Duration { hub.busyTime() }

    /// Ends the hub's thread and, as they become idle, those of the helper pool.
    package func releaseThreads() {
        blocking.close()
        hub.stop()
    }
}

/// The metrics of the cooperative engine's event loop.
package struct HubInstruments: EventLoopObserver {
    private let lag: HistogramMetric
    private let steps: CounterMetric

    /// Registers the metrics.
    ///
    /// - Parameters:
    ///   - registry: Where to register them.
    ///   - backend: The value of the label `backend`.
    /// - Throws: `MetricError` when the application has taken one of the names for something else.
    package init(registry: MetricRegistry, backend: String) throws(MetricError) {
        lag = try registry.histogramFamily(
            "muster_hub_lag_seconds",
            help: "How long a turn of the hub took: what a due timer or a ready descriptor had to wait at most.",
            unit: .seconds, buckets: .lateness, labelNames: ["backend"]
        ).labels(backend)
        steps = try registry.counterFamily(
            "muster_hub_job_steps_total", help: "Steps of jobs, from one await to the next, that the hub ran.",
            labelNames: ["backend"]
        ).labels(backend)
    }

    /// Takes a turn's figures.
    package func turnEnded(nanoseconds: Int64, jobs: Int) {
        lag.observe(Double(nanoseconds) * 1e-9)
        if jobs > 0 { steps.increment(by: jobs) }
    }
}
