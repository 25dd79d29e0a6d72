// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterExecution
import MusterPlatform

/// Calls a function that reports success or failure, less and less often while it fails.
///
/// After a success the next call comes after `startingInterval` times a random factor. After each failure the delay
/// doubles times the factor, up to `maximumInterval`, until the delays since the last success would add up to more than
/// `timeout`: then the loop ends with ``LoopingCallTimeOut``. The factor is |N(jitter, 0.1)|, drawn anew each time.
///
/// Sound as `@unchecked Sendable` for its superclass' reason: it adds constants only.
public final class BackOffLoopingCall: LoopingCall, BackendComponent, @unchecked Sendable {
    /// How the delays develop.
    public struct Settings: Hashable, Sendable {
        /// The time before the first run.
        package var initialDelay: Duration
        /// The delay after a success, before jitter.
        package var startingInterval: Duration
        /// The longest that the delays since the last success may add up to; zero for ever.
        package var timeout: Duration
        /// The longest delay.
        package var maximumInterval: Duration
        /// The mean of the random factor.
        package var jitter: Double
        /// The shortest delay.
        package var minimumInterval: Duration
        /// How late a run may begin; `nil` for a thousandth of the delay, 1 ms at most.
        package var tolerance: Duration?

        /// Creates settings; the defaults are upstream's.
        ///
        /// - Parameters:
        ///   - initialDelay: The time before the first run.
        ///   - startingInterval: The delay after a success, before jitter.
        ///   - timeout: The longest that the delays since the last success may add up to; zero for ever.
        ///   - maximumInterval: The longest delay.
        ///   - jitter: The mean of the random factor.
        ///   - minimumInterval: The shortest delay, 1 ms or more.
        ///   - tolerance: How late a run may begin so that it shares a waking with neighbours; `nil` for a thousandth of
        ///     the delay, 1 ms at most.
        public init(
            initialDelay: Duration = .zero, startingInterval: Duration = .seconds(1),
            timeout: Duration = .seconds(300), maximumInterval: Duration = .seconds(300), jitter: Double = 0.75,
            minimumInterval: Duration = .milliseconds(1), tolerance: Duration? = nil
        ) {
            self.initialDelay = initialDelay
            self.startingInterval = startingInterval
            self.timeout = timeout
            self.maximumInterval = maximumInterval
            self.jitter = jitter
            self.minimumInterval = minimumInterval
            self.tolerance = tolerance
        }
    }

    private let function: @Sendable () async throws -> Bool
    private let random: @Sendable (Double) -> Double

    /// Creates a loop that does not run yet.
    ///
    /// - Parameters:
    ///   - name: The loop's name; loops of one name share their metrics.
    ///   - stallLimit: How long a run may last before the process counts as stuck; `nil` for as long as it takes.
    ///   - backend: The backend to run on; the selected one, asked for at the start, when `nil`.
    ///   - function: What to call; it returns whether it has succeeded. An error ends the loop.
    public convenience init(
        name: String, stallLimit: Duration? = nil, backend: Backend? = nil,
        _ function: @escaping @Sendable () async throws -> Bool
    ) {
        self.init(
            name: name, stallLimit: stallLimit, backend: backend,
            random: { Double.normal(mean: $0, deviation: 0.1) }, function)
    }

    /// - Parameter random: Draws the random factor, given its mean; its sign is ignored.
    package init(
        name: String, stallLimit: Duration? = nil, backend: Backend? = nil,
        random: @escaping @Sendable (_ mean: Double) -> Double,
        _ function: @escaping @Sendable () async throws -> Bool
    ) {
        self.random = random
        self.function = function
        super.init(name: name, stallLimit: stallLimit, backend: backend)
    }

    /// Starts the loop. It may be started again after its end, with everything forgotten.
    ///
    /// - Throws: `LoopingCallError`; what selecting the backend or starting a job throws.
    public func start(_ settings: Settings = Settings()) throws {
        let shortest = DynamicLoopingCall.shortestDelay
        guard settings.minimumInterval >= shortest else {
            throw LoopingCallError.intervalTooShort(loop: name, interval: settings.minimumInterval, shortest: shortest)
        }
        let random = random
        try begin(
            BackOffPlan(loop: name, settings: settings) { random(settings.jitter) }, tolerance: settings.tolerance,
            stopsOnError: true, function)
    }
}

/// Delays that grow while runs report failure, with jitter, until the time spent waiting exceeds the time-out.
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
    var backsOff: Bool { true }
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
        let shortest = settings.minimumInterval.inSeconds
        var idle: Double
        if output == true {
            seconds = settings.startingInterval.inSeconds
            failedSeconds = 0
            idle = seconds * random
        } else {
            let grown = seconds * 2 * random
            idle = grown.isFinite ? min(max(grown, shortest), settings.maximumInterval.inSeconds) : .infinity
            seconds = min(max(seconds * 2 * settings.jitter, shortest), Self.longest)
            let timeout = settings.timeout.inSeconds
            if timeout > 0, failedSeconds + idle > timeout {
                throw LoopingCallTimeOut(loop: loop, elapsed: .seconds(failedSeconds + idle))
            }
            failedSeconds += idle
        }
        // Numbers of the application's own (a jitter that is no number) must not bring the process down.
        idle = idle.isFinite ? min(max(idle, shortest), Self.longest) : settings.maximumInterval.inSeconds
        due = now.advanced(by: .seconds(idle))
        return LoopRunEnd(due: due, backOff: output == true ? .zero : .seconds(idle))
    }
}

extension Double {
    /// A number drawn from a normal distribution, by the method of Box and Muller, with the system's generator.
    package static func normal(mean: Double, deviation: Double) -> Double {
        let radius = sqrt(-2 * log(Double.random(in: .leastNonzeroMagnitude...1)))
        return mean + deviation * radius * cos(2 * .pi * Double.random(in: 0..<1))
    }
}
