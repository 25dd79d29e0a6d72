// SPDX-License-Identifier: Apache-2.0

public import Logging
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

    /// Creates a decorator.
    ///
    /// - Parameters:
    ///   - maximumRetries: How often to try again; `nil`, or a negative number, for ever.
    ///   - delayIncrement: The delay before the first retry, and by how much each later one is longer.
    ///   - maximumDelay: The longest delay.
    ///   - clock: The clock to wait on.
    ///   - logger: Where retries are logged, at debug level.
    ///   - isRetryable: Whether an error may pass; any other is thrown on at once.
    public init(
        maximumRetries: Int? = nil, delayIncrement: Duration = .seconds(10), maximumDelay: Duration = .seconds(60),
        clock: any RuntimeClock = SystemClock(), logger: Logger = Logger(label: "muster.retry"),
        isRetryable: @escaping @Sendable (any Error) -> Bool
    ) {
        // Upstream's -1 means for ever, too.
        self.maximumRetries = maximumRetries.flatMap { $0 < 0 ? nil : $0 }
        self.delayIncrement = delayIncrement
        self.maximumDelay = maximumDelay
        self.clock = clock
        self.logger = logger.queued
        self.isRetryable = isRetryable
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
                return try await function()
            } catch  where isRetryable(error) {
                if let maximumRetries, retries >= maximumRetries {
                    logger.debug(
                        "no retries left", metadata: ["retries": "\(retries)", "error": "\(error)"])
                    throw error
                }
                retries += 1
                delay = min(delay + delayIncrement, maximumDelay)
                logger.debug(
                    "trying again", metadata: ["retry": "\(retries)", "after": "\(delay)", "error": "\(error)"])
            }
            let due = clock.now.advanced(by: max(delay, DynamicLoopingCall.shortestDelay))
            LoopProgress.waits(until: due)
            try await clock.sleep(until: due)
        }
    }

    // Without it, Swift 6.3's compiler crashes at `RetryDecorator(…) { … }` with a function that awaits nothing.
    /// As the asynchronous one, for a function that does not wait.
    public nonisolated(nonsending) func callAsFunction<Result>(_ function: () throws -> Result) async throws -> Result {
        try await callAsFunction { () async throws -> Result in try function() }
    }
}
