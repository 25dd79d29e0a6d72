// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

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
