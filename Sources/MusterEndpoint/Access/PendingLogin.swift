// SPDX-License-Identifier: Apache-2.0

/// A request that waits for its password to be checked.
///
/// Sound as `@unchecked Sendable` for the reason that its superclass is.
final class PendingLogin: Suspension, @unchecked Sendable {
    /// `nil` until it is known.
    var isGranted: Bool?
}
