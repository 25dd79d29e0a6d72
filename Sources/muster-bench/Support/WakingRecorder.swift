// SPDX-License-Identifier: Apache-2.0

/// Wakings of one looping call.
///
/// Sound as `@unchecked Sendable`: only the loop's runs, which never overlap, write, and it is read after the loop's end.
final class WakingRecorder: @unchecked Sendable {
    private let interval: Int64
    private let capacity: Int
    private let due: UnsafeMutablePointer<Int64>
    private let woken: UnsafeMutablePointer<Int64>
    private var count = 0

    init(interval: Int64, capacity: Int) {
        self.interval = interval
        self.capacity = capacity
        due = .allocate(capacity: capacity)
        woken = .allocate(capacity: capacity)
        // Touched, so that no page is missing when it is written to.
        due.initialize(repeating: 0, count: capacity)
        woken.initialize(repeating: 0, count: capacity)
    }

    deinit {
        due.deallocate()
        woken.deallocate()
    }

    /// Notes a waking.
    ///
    /// - Returns: Whether more are wanted.
    func record(woken instant: Int64, due deadline: Int64) -> Bool {
        woken[count] = instant
        due[count] = deadline
        count += 1
        return count < capacity
    }

    var grid: WakingGrid {
        WakingGrid(
            interval: interval, due: Array(UnsafeBufferPointer(start: due, count: count)),
            woken: Array(UnsafeBufferPointer(start: woken, count: count)))
    }
}
