// SPDX-License-Identifier: Apache-2.0

/// What is alive in an engine at one moment.
public struct Census: Hashable, Sendable {
    /// Jobs spawned and not started.
    public var queued: Int
    /// Jobs started and not finished.
    public var running: Int
    /// Jobs asked to cancel and not finished.
    public var stopping: Int
    /// Native threads that the engine holds.
    public var nativeThreads: Int

    /// Creates a census.
    ///
    /// - Parameters:
    ///   - queued: Jobs spawned and not started.
    ///   - running: Jobs started and not finished.
    ///   - stopping: Jobs asked to cancel and not finished.
    ///   - nativeThreads: Native threads that the engine holds.
    public init(queued: Int = 0, running: Int = 0, stopping: Int = 0, nativeThreads: Int = 0) {
        self.queued = queued
        self.running = running
        self.stopping = stopping
        self.nativeThreads = nativeThreads
    }

    /// All jobs alive.
    public var jobs: Int { queued + running + stopping }
}
