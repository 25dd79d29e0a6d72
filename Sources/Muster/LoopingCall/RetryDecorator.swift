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

    /// Calls a function until it succeeds.
    ///
    /// - Throws: Its error, when that is not retryable or the retries are used up; `CancellationError` when the task
    ///   is cancelled while it waits.
    public func callAsFunction<Result>(_ function: () async throws -> Result) async throws -> Result {
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
            try await clock.sleep(for: max(delay, DynamicLoopingCall.shortestDelay))
        }
    }
}
