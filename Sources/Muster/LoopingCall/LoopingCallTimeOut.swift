// SPDX-License-Identifier: Apache-2.0

/// A looping call had a time-out, and it is over.
///
/// Upstream: `LoopingCallTimeOut`.
public struct LoopingCallTimeOut: Error, Hashable, BackendComponent, CustomStringConvertible {
    /// The component's name.
    public static let componentName = "LoopingCallTimeOut"

    /// The loop's name.
    public let loop: String
    /// The time that the loop has taken, or, for a back-off, that it would have waited.
    public let elapsed: Duration

    /// Creates the error.
    ///
    /// - Parameters:
    ///   - loop: The loop's name.
    ///   - elapsed: The time that the loop has taken.
    public init(loop: String, elapsed: Duration) {
        self.loop = loop
        self.elapsed = elapsed
    }

    /// The loop and its time.
    public var description: String {
        "looping call '\(loop)' timed out after \(elapsed)"
    }
}
