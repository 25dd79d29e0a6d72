// SPDX-License-Identifier: Apache-2.0

import Dispatch

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
