// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// What a look at a worker's vital signs says.
package enum VitalVerdict: Hashable, Sendable {
    /// The worker hangs.
    case hung(Hang)
    /// Something could hang, at this instant at the earliest.
    case nextLook(at: MonotonicInstant)
    /// There is nothing that could hang.
    case quiet
}
