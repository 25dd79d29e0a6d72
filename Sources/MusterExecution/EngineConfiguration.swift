// SPDX-License-Identifier: Apache-2.0

/// The limits of the two engines.
public struct EngineConfiguration: Hashable, Sendable {
    /// The most threads that jobs of the threading engine may have at a time.
    public var threadLimit: Int
    /// The most threads that the threading engine keeps without a job.
    public var idleThreadLimit: Int
    /// The most threads for blocking work beside the jobs' own.
    public var blockingThreadLimit: Int
    /// How long a thread without a job stays.
    public var threadKeepAlive: Duration
    /// The stack of each thread in bytes, at least 64 KiB; the kernel commits it as it is used.
    public var threadStackSize: Int

    /// Creates limits.
    ///
    /// - Parameters:
    ///   - threadLimit: The most threads that jobs of the threading engine may have at a time.
    ///   - idleThreadLimit: The most threads that the threading engine keeps without a job.
    ///   - blockingThreadLimit: The most threads for blocking work beside the jobs' own.
    ///   - threadKeepAlive: How long a thread without work stays.
    ///   - threadStackSize: The stack of each thread in bytes.
    public init(
        threadLimit: Int = 4096, idleThreadLimit: Int = 64, blockingThreadLimit: Int = 20,
        threadKeepAlive: Duration = .seconds(10), threadStackSize: Int = 2 << 20
    ) {
        self.threadLimit = threadLimit
        self.idleThreadLimit = idleThreadLimit
        self.blockingThreadLimit = blockingThreadLimit
        self.threadKeepAlive = threadKeepAlive
        self.threadStackSize = threadStackSize
    }
}
