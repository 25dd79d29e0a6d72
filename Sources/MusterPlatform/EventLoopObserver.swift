// SPDX-License-Identifier: Apache-2.0

/// Hears how an event loop gets on. Called on the loop's thread, once a turn, so it must be quick.
public protocol EventLoopObserver: Sendable {
    /// A turn is over: the loop looks for due timers and ready descriptors again.
    ///
    /// - Parameters:
    ///   - nanoseconds: How long the turn took; nothing else could run meanwhile.
    ///   - jobs: How many task steps it ran.
    func turnEnded(nanoseconds: Int64, jobs: Int)
}
