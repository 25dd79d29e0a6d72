// SPDX-License-Identifier: Apache-2.0

/// How long a slot waits before its next process is started.
///
/// The death of a process that has been ready for the stable time is followed by a new one at once. Other deaths wait
/// `base`, twice as long, four times as long, … up to `maximum`; a process that is ready for as long as it was held
/// back takes one doubling back.
public struct RestartBackoff: Hashable, Sendable {
    /// The first delay that is not zero.
    public var base: Duration = .milliseconds(10)
    /// The longest delay, but for the jitter.
    public var maximum: Duration = .seconds(30)
    /// By which share of itself a delay is made longer or shorter at random, so that many slots that died at once do
    /// not start at once again and again; 0 to 1.
    public var jitter = 0.1
    /// How long a process has to be ready for its slot to be stable.
    public var stableTime: Duration = .seconds(10)

    /// Creates a back-off.
    ///
    /// - Parameters:
    ///   - base: The first delay that is not zero.
    ///   - maximum: The longest delay, but for the jitter.
    ///   - jitter: By which share of itself a delay is made longer or shorter at random; 0 to 1.
    ///   - stableTime: How long a process has to be ready for its slot to be stable.
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
