// SPDX-License-Identifier: Apache-2.0

/// Knows how a service is doing. Whoever launches it implements this; the endpoint adds what it knows itself: health
/// checks and history.
public protocol StatusSource: Sendable {
    /// Looks at the service. Called on the endpoint's thread; it must not wait for anything.
    ///
    /// - Returns: The service at present.
    func look() -> StatusLook
}
