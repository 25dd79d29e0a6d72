// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Dispatch
import MusterPlatform
import Synchronization

/// Order statistics of small samples.
enum Statistics {
    /// The value below which a fraction of the sample lies; 0 for an empty one.
    static func quantile<Value: BinaryInteger>(_ fraction: Double, of sample: some Sequence<Value>) -> Double {
        quantile(fraction, of: sample.map { Double($0) })
    }

    /// The value below which a fraction of the sample lies; 0 for an empty one.
    static func quantile(_ fraction: Double, of sample: some Sequence<Double>) -> Double {
        let sorted = sample.sorted()
        guard let last = sorted.last else { return 0 }
        let position = fraction * Double(sorted.count - 1)
        let index = Int(position)
        guard index + 1 < sorted.count else { return last }
        return sorted[index] + (position - Double(index)) * (sorted[index + 1] - sorted[index])
    }

    static func median(_ sample: some Sequence<Double>) -> Double {
        quantile(0.5, of: sample)
    }
}

/// What many looping calls do in each run: they note the instant, and count.
///
/// Sound as `@unchecked Sendable`: each slot belongs to one looping call, whose runs never overlap.
final class CallCount: @unchecked Sendable {
    private let instants: UnsafeMutablePointer<Int64>
    private let calls = Atomic<Int>(0)

    init(slots: Int) {
        instants = .allocate(capacity: slots)
        instants.initialize(repeating: 0, count: slots)
    }

    deinit {
        instants.deallocate()
    }

    func count(in slot: Int) {
        instants[slot] = MonotonicInstant.now.nanoseconds
        calls.wrappingAdd(1, ordering: .relaxed)
    }

    var total: Int { calls.load(ordering: .relaxed) }
}

/// Lets a thread wait until something has happened a number of times.
final class Countdown: Sendable {
    private let remaining: Atomic<Int>
    private let latch = Latch()

    init(_ count: Int) {
        remaining = Atomic(count)
    }

    func count() {
        if remaining.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 { latch.open() }
    }

    func wait() {
        latch.wait()
    }
}

/// Lets the main thread wait for what runs on an engine.
struct Latch: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)

    /// Lets one waiter go on.
    func open() {
        semaphore.signal()
    }

    /// Waits.
    func wait() {
        semaphore.wait()
    }
}

/// A word in shared memory, where metrics live too.
final class SharedCell {
    private static let size = 4096
    let word: UnsafeMutablePointer<UInt64>
    let pointer: UnsafeMutablePointer<Atomic<UInt64>>

    init() throws {
        guard let memory = cmusterbench_map_shared(Self.size) else {
            throw BenchmarkError("the system has no memory file to give")
        }
        word = memory.bindMemory(to: UInt64.self, capacity: 1)
        pointer = memory.assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    deinit {
        cmusterbench_unmap(word, Self.size)
    }
}
