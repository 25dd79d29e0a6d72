// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// When a worker is replaced although nothing is wrong with it: before it has grown too much, or after a time.
public struct RecyclePolicy: Hashable, Sendable {
    /// The limit of a worker's anonymous memory in bytes; zero for none.
    package var memory: Int
    /// How long a worker may serve; zero for any time.
    package var age: Duration
    /// How long a worker serves before it can be recycled, whatever the reason.
    package var minimumAge: Duration

    /// Creates a policy.
    public init(memory: Int = 0, age: Duration = .zero, minimumAge: Duration = .seconds(60)) {
        self.memory = memory
        self.age = age
        self.minimumAge = max(minimumAge, .zero)
    }
}

/// Why a worker is to be recycled.
package enum RecycleCause: Hashable, Sendable {
    /// It has this much anonymous memory, in bytes.
    case memory(Int)
    case age
    /// The application asks for it, for a reason of its own.
    case requested(String)
}

/// The rules. Pure.
extension RecyclePolicy {
    /// By how much the limits of some are lower than those of others: workers that started together, and grow alike,
    /// are not recycled together.
    private static let jitter = 0.1
    /// One worker of so many is recycled at a time.
    private static let workersPerRecycle = 10

    /// The share of the limits that holds for a process, 0.9 to 1: always the same for the same process.
    static func share(of incarnation: Int, seed: UInt64) -> Double {
        var random = SplitMix64(seed: seed ^ UInt64(bitPattern: Int64(incarnation)))
        return 1 - Double.random(in: 0...jitter, using: &random)
    }

    func exceedsMemory(_ bytes: Int, share: Double) -> Bool {
        memory > 0 && Double(bytes) >= Double(memory) * share
    }

    /// How long a process may serve; nil for any time. Never less than the minimum.
    func age(share: Double) -> Duration? {
        age > .zero ? max(minimumAge, .nanoseconds(Int64(Double(age.clampedNanoseconds) * share))) : nil
    }

    /// How many of a group's workers are recycled at the same time: those that come up, and those that still stop.
    static func atOnce(of workers: Int) -> Int { max(1, workers / workersPerRecycle) }

    /// How long after one recycling of a group the next one begins at the earliest: each slot's minimum, on average.
    func pause(of workers: Int) -> Duration { minimumAge / max(1, workers) }
}
