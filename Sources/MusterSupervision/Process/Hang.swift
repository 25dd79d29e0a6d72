// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// What keeps a worker from counting as alive.
package struct Hang: Hashable, Sendable, CustomStringConvertible {
    /// What it is that does not get on.
    package enum Cause: Hashable, Sendable {
        /// A turn of the main loop: something blocks its thread.
        case turn
        /// A deadline that has passed: a looping call is overdue.
        case deadline(cell: Int)
        /// A check of the live level, which fails or has not reported for too long.
        case health(name: String)
    }

    package let cause: Cause
    /// Since when.
    package let since: MonotonicInstant

    package var description: String {
        switch cause {
        case .turn: "the main loop's turn does not end"
        case .deadline: "a looping call is overdue"
        case .health(let name): "the health check '\(name)' fails or does not report"
        }
    }
}
