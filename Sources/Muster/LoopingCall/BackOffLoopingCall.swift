// SPDX-License-Identifier: Apache-2.0

import Glibc
public import MusterExecution
public import MusterPlatform

/// Calls a function that reports success or failure, less and less often while it fails.
///
/// After a success the next call comes after `startingInterval` times a random factor. After each failure the delay
/// doubles times the factor, up to `maxInterval`, until the delays since the last success would add up to more than
/// `timeout`: then the loop ends with ``LoopingCallTimeOut``. The factor is |N(jitter, 0.1)|, drawn anew each time.
///
/// Upstream: `BackOffLoopingCall`.
public final class BackOffLoopingCall: LoopingCall, BackendComponent {
    /// The component's name.
    public static let componentName = "BackOffLoopingCall"

    /// How the delays develop.
    public struct Settings: Hashable, Sendable {
        /// The time before the first run.
        public var initialDelay: Duration
        /// The delay after a success, before jitter.
        public var startingInterval: Duration
        /// The longest that the delays since the last success may add up to; zero for ever.
        public var timeout: Duration
        /// The longest delay.
        public var maxInterval: Duration
        /// The mean of the random factor.
        public var jitter: Double
        /// The shortest delay.
        public var minInterval: Duration

        /// Creates settings; the defaults are upstream's.
        ///
        /// - Parameters:
        ///   - initialDelay: The time before the first run.
        ///   - startingInterval: The delay after a success, before jitter.
        ///   - timeout: The longest that the delays since the last success may add up to; zero for ever.
        ///   - maxInterval: The longest delay.
        ///   - jitter: The mean of the random factor.
        ///   - minInterval: The shortest delay, 1 ms or more.
        public init(
            initialDelay: Duration = .zero, startingInterval: Duration = .seconds(1),
            timeout: Duration = .seconds(300), maxInterval: Duration = .seconds(300), jitter: Double = 0.75,
            minInterval: Duration = .milliseconds(1)
        ) {
            self.initialDelay = initialDelay
            self.startingInterval = startingInterval
            self.timeout = timeout
            self.maxInterval = maxInterval
            self.jitter = jitter
            self.minInterval = minInterval
        }
    }

    private let driver: LoopDriver<BackOffPlan>
    private let random: @Sendable (Double) -> Double

    /// Creates a loop that does not run yet.
    ///
    /// - Parameters:
    ///   - name: The loop's name; loops of one name share their metrics.
    ///   - stallLimit: How long a run may last, or be overdue, before the process counts as stuck; the process'
    ///     liveness limit when `nil`.
    ///   - backend: The backend to run on; the selected one, asked for at the start, when `nil`.
    ///   - random: Draws the random factor, given its mean; a normal distribution of deviation 0.1 unless given.
    ///     Its sign is ignored.
    ///   - function: What to call; it returns whether it has succeeded. An error ends the loop.
    public init(
        name: String, stallLimit: Duration? = nil, backend: Backend? = nil,
        random: @escaping @Sendable (_ mean: Double) -> Double = { Double.normal(mean: $0, deviation: 0.1) },
        _ function: @escaping @Sendable () async throws -> Bool
    ) {
        self.random = random
        driver = LoopDriver(name: name, stallLimit: stallLimit, backend: backend, function: function)
    }

    /// Starts the loop. It may be started again after its end, with everything forgotten.
    ///
    /// - Parameter settings: How the delays develop.
    /// - Throws: ``LoopingCallError``; what selecting the backend or starting a job throws.
    public func start(_ settings: Settings = Settings()) throws {
        let shortest = DynamicLoopingCall.shortestDelay
        guard settings.minInterval >= shortest else {
            throw LoopingCallError.intervalTooShort(loop: name, interval: settings.minInterval, shortest: shortest)
        }
        let random = random
        try driver.start(
            BackOffPlan(loop: name, settings: settings) { random(settings.jitter) }, stopOnException: true)
    }

    /// The loop's name, the value of the label `loop`.
    public var name: String { driver.name }
    /// Whether the loop has been started and has not ended.
    public var isRunning: Bool { driver.isRunning }
    /// How the last life of the loop ended.
    public var outcome: Result<LoopEnd, any Error>? { driver.outcome }
    /// The loop's job, while it runs.
    public var job: Job? { driver.job }

    /// Ends the loop: at once while it waits, and after the present run while its function runs.
    public func stop() { driver.stop() }

    /// Waits for the end of the loop.
    ///
    /// - Parameter deadline: The latest instant; `nil` waits without end.
    /// - Returns: How the loop ended.
    /// - Throws: As ``LoopingCall/wait(until:)``.
    public func wait(until deadline: MonotonicInstant?) async throws -> LoopEnd {
        try await driver.wait(until: deadline)
    }
}

/// Delays that grow while runs report failure, with jitter, until the time spent waiting exceeds the time-out.
///
/// Upstream: `BackOffLoopingCall._idle_for`, whose figures it reproduces.
struct BackOffPlan: LoopPlan {
    /// In seconds, some 290 years: what fits the clock.
    private static let longest = 9.2e9

    private let loop: String
    private let settings: BackOffLoopingCall.Settings
    /// Draws |N(jitter, 0.1)|.
    private let draw: @Sendable () -> Double
    private var seconds: Double
    private var failedSeconds = 0.0
    private var due = MonotonicInstant(nanoseconds: 0)

    init(loop: String, settings: BackOffLoopingCall.Settings, draw: @escaping @Sendable () -> Double) {
        self.loop = loop
        self.settings = settings
        self.draw = draw
        seconds = settings.startingInterval.inSeconds
    }

    var interval: Duration? { nil }
    var drift: Duration { .zero }

    mutating func begin(at now: MonotonicInstant) -> MonotonicInstant {
        seconds = settings.startingInterval.inSeconds
        failedSeconds = 0
        due = now.advanced(by: max(.zero, settings.initialDelay))
        return due
    }

    mutating func runBegan(at now: MonotonicInstant) -> LoopRunStart {
        LoopRunStart(lateness: due.duration(to: now), nextDue: now)
    }

    mutating func runEnded(at now: MonotonicInstant, output: Bool?) throws -> LoopRunEnd {
        let random = abs(draw())
        let shortest = settings.minInterval.inSeconds
        var idle: Double
        if output == true {
            seconds = settings.startingInterval.inSeconds
            failedSeconds = 0
            idle = seconds * random
        } else {
            let grown = seconds * 2 * random
            idle = grown.isFinite ? min(max(grown, shortest), settings.maxInterval.inSeconds) : .infinity
            seconds = min(max(seconds * 2 * settings.jitter, shortest), Self.longest)
            let timeout = settings.timeout.inSeconds
            if timeout > 0, failedSeconds + idle > timeout {
                throw LoopingCallTimeOut(loop: loop, elapsed: .seconds(failedSeconds + idle))
            }
            failedSeconds += idle
        }
        // Numbers of the application's own (a jitter that is no number) must not bring the process down.
        idle = idle.isFinite ? min(max(idle, shortest), Self.longest) : settings.maxInterval.inSeconds
        due = now.advanced(by: .seconds(idle))
        return LoopRunEnd(due: due)
    }
}

extension Double {
    /// A number drawn from a normal distribution, by the method of Box and Muller, with the system's generator.
    ///
    /// - Parameters:
    ///   - mean: The distribution's mean.
    ///   - deviation: Its standard deviation.
    public static func normal(mean: Double, deviation: Double) -> Double {
        let radius = sqrt(-2 * log(Double.random(in: .leastNonzeroMagnitude...1)))
        return mean + deviation * radius * cos(2 * .pi * Double.random(in: 0..<1))
    }
}
