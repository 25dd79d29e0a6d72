// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// When a worker that exited is restarted.
public enum RestartPolicy: String, CaseIterable, Hashable, Sendable {
    /// Always.
    case always
    /// Unless it exited with code 0: then its slot is finished. When every slot of every group is, the launcher stops
    /// with status 0.
    case onFailure = "on-failure"
    /// Never: the first worker that exits by itself stops the launcher gracefully, with status 0 if its exit code was 0,
    /// else with 1.
    case never
}

/// How long a slot waits before its next process is started.
///
/// A process that was ready for `stableTime` is replaced at once, and so are the first five in a row that were ready for
/// less: each fifth of `stableTime` for which one is ready makes up for one. Otherwise the delay is `base`, and doubles
/// with each exit up to `maximum`; a process that is ready for as long as its own delay takes one doubling back.
public struct RestartBackoff: Hashable, Sendable {
    /// The first delay that is not zero.
    package var base: Duration = .milliseconds(10)
    /// The longest delay, but for the jitter.
    package var maximum: Duration = .seconds(30)
    /// The share, 0 to 1, by which each delay is lengthened or shortened at random, so that slots do not restart in
    /// step.
    package var jitter = 0.1
    /// How long a process must be ready for its slot to be stable.
    package var stableTime: Duration = .seconds(10)

    /// Creates a back-off.
    public init(
        base: Duration = .milliseconds(10), maximum: Duration = .seconds(30), jitter: Double = 0.1,
        stableTime: Duration = .seconds(10)
    ) {
        self.base = base
        self.maximum = maximum
        self.jitter = jitter
        self.stableTime = stableTime
    }
}

/// How long the next restart waits, from how long the processes before it lasted. Pure.
///
/// A level k stands for a delay: 0 for k = 0, else `base`·2^(k−1), held at `maximum`. It moves at each death, by the
/// time u for which the process had been ready (0 if it never was), and the restart waits the new level's delay:
///
/// | u                              | level                          | why                                        |
/// |--------------------------------|--------------------------------|--------------------------------------------|
/// | at least `stableTime`          | 0: restart at once             | a death now and then shall cost nothing     |
/// | at level 0, less, but not 0    | 0 while there is credit        | the first deaths of a series do not either  |
/// | at level 0 otherwise           | 1                              | it keeps dying, or cannot even start        |
/// | at least the level's delay     | one lower, but not below 1     | the slot serves half of the time or more    |
/// | less                           | one higher, up to `maximum`    | it spends its time on dying                 |
///
/// The credit is a time: `stableTime` at first, the most it can be. A restart that it pays for takes a fifth of
/// `stableTime` away, and each life gives its u back.
///
/// So a storm of kills, which hits processes that are well, leaves the delay at some tens of milliseconds at a few
/// kills a second. Asking for more than half of the time would not do: while some of a group's slots wait, the others
/// are hit more often, live for less, wait longer in turn, and in the end nobody serves. A program that cannot live
/// climbs a level with each death, as it is never ready for as long as its delay, and reaches `maximum` after some
/// twelve deaths, or five more if it comes up at all. The level stops rising where the delay does, or it would take as many good lives to come down again.
struct RestartBackoffState: Hashable, Sendable {
    /// How many restarts the whole credit pays for.
    private static let freeRestarts = 5

    private(set) var level = 0
    /// What has been spent of the credit.
    private var debt = Duration.zero

    /// A process has died.
    mutating func died(afterReady uptime: Duration, _ settings: RestartBackoff) {
        let present = delay(settings)
        let price = settings.stableTime / Self.freeRestarts
        debt = uptime >= debt ? .zero : debt - max(.zero, uptime)
        if uptime >= settings.stableTime, uptime > .zero {
            level = 0
        } else if level == 0 {
            guard uptime > .zero, settings.stableTime - debt >= price else {
                level = 1
                return
            }
            debt += price
        } else if uptime >= present {
            level = max(1, level - 1)
        } else if present < settings.maximum, level < 64 {
            level += 1
        }
    }

    /// The level's delay, without jitter.
    func delay(_ settings: RestartBackoff) -> Duration {
        guard level > 0 else { return .zero }
        // Doubling what is no longer than this cannot overflow.
        let maximum = max(.zero, min(settings.maximum, .nanoseconds(Int64.max)))
        var delay = max(.zero, min(settings.base, maximum))
        for _ in 1..<level where delay < maximum { delay *= 2 }
        return min(delay, maximum)
    }

    /// The level's delay, with jitter.
    func delay(_ settings: RestartBackoff, using random: inout SplitMix64) -> Duration {
        let delay = delay(settings)
        let jitter = settings.jitter.isNaN ? 0 : min(max(settings.jitter, 0), 1)
        // Drawn at zero too, so that the sequence depends on the number of deaths alone.
        let factor = Double.random(in: -1...1, using: &random)
        return delay + .nanoseconds(Int64(Double(min(delay, .seconds(1 << 32)).clampedNanoseconds) * jitter * factor))
    }
}

/// How many restarts of a group are tolerated within a period (as in Erlang/OTP), and what follows more of them.
public struct RestartIntensity: Hashable, Sendable {
    /// What follows too many restarts.
    public enum Response: String, CaseIterable, Hashable, Sendable {
        /// The launcher continues; readiness warns until the restarts are back to normal.
        case absorb
        /// The launcher stops gracefully with status 1.
        case escalate
    }

    /// How many restarts within the period are tolerated.
    package var maximum: Int
    /// The period.
    package var period: Duration
    /// What follows more restarts.
    package var whenExceeded: Response

    /// Creates a restart intensity.
    public init(maximum: Int = 60, period: Duration = .seconds(60), whenExceeded: Response = .absorb) {
        self.maximum = maximum
        self.period = period
        self.whenExceeded = whenExceeded
    }
}

/// Whether a group restarts too often: more than so many times within a period. Pure.
///
/// It remembers one restart more than are tolerated, so it stays small whatever happens.
struct RestartWindow: Hashable, Sendable {
    private var restarts: [MonotonicInstant] = []
    /// Whether there have been too many, and no calm since.
    private(set) var isExceeded = false

    mutating func record(at now: MonotonicInstant, _ intensity: RestartIntensity) {
        restarts.append(now)
        trim(intensity)
        if calm(intensity).map({ now < $0 }) ?? false { isExceeded = true }
    }

    /// When there are no longer too many, if no further restart comes; nil when there have not been that many.
    ///
    /// That is when the period's restarts are few enough, or earlier, when there has been none for a tenth of the period
    /// and for longer than between restarts that are tolerated: a storm that is over shall not count on.
    func calm(_ intensity: RestartIntensity) -> MonotonicInstant? {
        guard restarts.count > max(0, intensity.maximum), let first = restarts.first, let last = restarts.last else {
            return nil
        }
        let period = max(.nanoseconds(1), intensity.period)
        let pause = max(period / 10, period / max(1, intensity.maximum))
        return min(first.advanced(by: period), last.advanced(by: pause))
    }

    /// Updates ``isExceeded``.
    mutating func check(at now: MonotonicInstant, _ intensity: RestartIntensity?) {
        guard let intensity else {
            self = RestartWindow()
            return
        }
        trim(intensity)
        isExceeded = isExceeded && calm(intensity).map { now < $0 } ?? false
    }

    private mutating func trim(_ intensity: RestartIntensity) {
        restarts.removeFirst(max(0, restarts.count - max(0, intensity.maximum) - 1))
    }
}
