// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// That a slot's process ended and another one takes its place.
package struct SlotRestart: Hashable, Sendable {
    /// Why the former process ended.
    package var reason: DeathReason
    /// When it did.
    package var at: MonotonicInstant
}
