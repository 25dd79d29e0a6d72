// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// How long the next restart waits, from how long the processes before it lasted. Pure.
///
/// A level k stands for a delay: 0 for k = 0, else `base`·2^(k−1), held at `maximum`. It moves at each death, by the
/// time u for which the process had been ready (0 if it never was), and the restart waits the new level's delay:
///
/// | u                              | level                          | why                                        |
/// |--------------------------------|--------------------------------|--------------------------------------------|
/// | at least `stableTime`          | 0: restart at once             | a death now and then shall cost nothing     |
/// | at level 0, less               | 1                              | it was not stable: the second death waits   |
/// | at least the level's delay     | one lower, but not below 1     | the slot serves half of the time or more    |
/// | less                           | one higher, up to `maximum`    | it spends its time on dying                 |
///
/// So a storm of kills, which hits processes that are well, leaves the delay at some tens of milliseconds at a few
/// kills a second. Asking for more than half of the time would not do: while some of a group's slots wait, the others
/// are hit more often, live for less, wait longer in turn, and in the end nobody serves. A program that cannot live
/// climbs a level with each death, as it is never ready for as long as its delay, and reaches `maximum` after some
/// twelve deaths. The level stops rising where the delay does, or it would take as many good lives to come down again.
struct RestartBackoffState: Hashable, Sendable {
    private(set) var level = 0

    /// A process has died.
    ///
    /// - Parameters:
    ///   - uptime: How long it had been ready; zero if it never was.
    ///   - settings: The slot's settings.
    mutating func died(afterReady uptime: Duration, _ settings: RestartBackoff) {
        let present = delay(settings)
        if uptime >= settings.stableTime, uptime > .zero {
            level = 0
        } else if level == 0 {
            level = 1
        } else if uptime >= present {
            level = max(1, level - 1)
        } else if present < settings.maximum, level < 64 {
            level += 1
        }
    }

    /// The level's delay, without jitter.
    func delay(_ settings: RestartBackoff) -> Duration {
        guard level > 0 else { return .zero }
        var delay = max(.zero, settings.base)
        for _ in 1..<level where delay < settings.maximum { delay *= 2 }
        return max(.zero, min(delay, settings.maximum))
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
