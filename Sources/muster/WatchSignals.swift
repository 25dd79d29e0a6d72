// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterCommand

/// The signals that a watch heeds, as a descriptor that can be waited for.
struct WatchSignals {
    /// Readable when there is a signal; `nil` where the system gives none, and signals do what they usually do.
    let descriptor: Int32?

    init() {
        let pipe = cmuster_signal_pipe_open()
        descriptor = pipe >= 0 ? pipe : nil
        guard pipe >= 0 else { return }
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP] { _ = cmuster_signal_install(signal) }
    }

    /// Waits for a signal, for so long at most.
    func wait(for limit: Duration) -> Watch.Event {
        let end = ContinuousClock.now.advanced(by: limit)
        while true {
            let left = max(.zero, end - ContinuousClock.now)
            var wait = pollfd(fd: descriptor ?? -1, events: Int16(POLLIN), revents: 0)
            let (seconds, attoseconds) = left.components
            let milliseconds = min(
                Int64(Int32.max), seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
            let count = poll(&wait, 1, Int32(milliseconds))
            if count == 0 { return .due }
            guard count > 0 else { continue }
            var number: UInt8 = 0
            guard let descriptor, read(descriptor, &number, 1) == 1 else { continue }
            switch Int32(number) {
            case SIGWINCH: return .resized
            case SIGTSTP: return .suspended
            default: return .ended
            }
        }
    }
}
