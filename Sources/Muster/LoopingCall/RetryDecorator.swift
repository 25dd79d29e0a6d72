// SPDX-License-Identifier: Apache-2.0

public import Logging
public import MusterMetrics
public import MusterPlatform

/// Calls a function again while it fails with errors that may pass, waiting longer each time.
///
/// The count and the delay belong to one call: a decorator may be used for any number of calls, also at the same
/// time.
public struct RetryDecorator: Sendable, BackendComponent {
    private let maximumRetries: Int?
    private let delayIncrement: Duration
    private let maximumDelay: Duration
    private let isRetryable: @Sendable (any Error) -> Bool
    private let clock: any RuntimeClock
    private let logger: Logger
    private let instruments: RetryInstruments?

    /// Creates a decorator.
    ///
    /// - Parameters:
    ///   - name: The value of the label `retry` of its metrics; without one it has none.
    ///   - maximumRetries: How often to try again; `nil`, or a negative number, for ever.
    ///   - delayIncrement: The delay before the first retry, and by how much each later one is longer.
    ///   - maximumDelay: The longest delay.
    ///   - clock: The clock to wait on.
    ///   - metrics: Where its metrics are kept.
    ///   - logger: Where retries are logged, at debug level.
    ///   - isRetryable: Whether an error may pass; any other is thrown on at once.
    public init(
        name: String? = nil, maximumRetries: Int? = nil, delayIncrement: Duration = .seconds(10),
        maximumDelay: Duration = .seconds(60), clock: any RuntimeClock = SystemClock(),
        metrics: MetricRegistry = .shared, logger: Logger = Logger(label: "muster.retry"),
        isRetryable: @escaping @Sendable (any Error) -> Bool
    ) {
        // Upstream's -1 means for ever, too.
        self.maximumRetries = maximumRetries.flatMap { $0 < 0 ? nil : $0 }
        self.delayIncrement = delayIncrement
        self.maximumDelay = maximumDelay
        self.clock = clock
        self.logger = logger.queued
        self.isRetryable = isRetryable
        do {
            instruments = try name.map { try RetryInstruments(registry: metrics, name: $0) }
        } catch {
            instruments = nil
            logger.warning("retries are not exported", metadata: ["retry": "\(name ?? "")", "error": "\(error)"])
        }
    }

    /// Calls a function until it succeeds, where the caller is: on its actor, or on its job's thread.
    ///
    /// The delays are progress: in a looping call they do not count towards its `stallLimit`.
    ///
    /// - Throws: Its error, when that is not retryable or the retries are used up; `CancellationError` when the task
    ///   is cancelled while it waits.
    public nonisolated(nonsending) func callAsFunction<Result>(
        _ function: nonisolated(nonsending) () async throws -> Result
    ) async throws -> Result {
        var retries = 0
        var delay = Duration.zero
        while true {
            do {
                let result = try await function()
                if retries > 0 { instruments?.succeeded.increment() }
                return result
            } catch  where isRetryable(error) {
                if let maximumRetries, retries >= maximumRetries {
                    instruments?.exhausted.increment()
                    logger.debug(
                        "no retries left", metadata: ["retries": "\(retries)", "error": "\(error)"])
                    throw error
                }
                retries += 1
                instruments?.retries.increment()
                delay = min(delay + delayIncrement, maximumDelay)
                logger.debug(
                    "trying again", metadata: ["retry": "\(retries)", "after": "\(delay)", "error": "\(error)"])
            }
            let due = clock.now.advanced(by: max(delay, DynamicLoopingCall.shortestDelay))
            LoopProgress.waits(until: due)
            instruments?.waiting.increment()
            defer { instruments?.waiting.decrement() }
            try await clock.sleep(until: due)
        }
    }

    // Without it, Swift 6.3's compiler crashes at `RetryDecorator(…) { … }` with a function that awaits nothing.
    /// As the asynchronous one, for a function that does not wait.
    public nonisolated(nonsending) func callAsFunction<Result>(_ function: () throws -> Result) async throws -> Result {
        try await callAsFunction { () async throws -> Result in try function() }
    }
}

/// The metrics of the retries of one name.
private struct RetryInstruments: Sendable {
    let retries: CounterMetric
    let succeeded: CounterMetric
    let exhausted: CounterMetric
    let waiting: GaugeMetric

    init(registry: MetricRegistry, name: String) throws(MetricError) {
        retries = try registry.counterFamily(
            "muster_retries_total", help: "Calls made again after an error that may pass.", labelNames: ["retry"]
        ).labels(name)
        let ends = try registry.counterFamily(
            "muster_retried_calls_total",
            help: "Calls that were retried, by how they ended: 'success', or 'exhausted' without retries left.",
            labelNames: ["retry", "outcome"])
        succeeded = ends.labels(name, "success")
        exhausted = ends.labels(name, "exhausted")
        waiting = try registry.gaugeFamily(
            "muster_retry_waiting", help: "Calls that wait for their next retry.", labelNames: ["retry"]
        ).labels(name)
        waiting.add(0)
    }
}
