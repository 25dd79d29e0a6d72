// SPDX-License-Identifier: Apache-2.0

public import MusterMetrics

/// What the kernel says about one process.
public struct ProcessStatus: Codable, Hashable, Sendable {
    /// Its process identifier.
    public var pid: Int32
    /// When it started.
    public var startedAt: Double?
    /// For how long it has run.
    public var uptimeSeconds: Double?
    /// Threads of the operating system.
    public var threads: Int?
    /// User and system time spent.
    public var cpuSeconds: Double?
    /// Memory in RAM.
    public var residentMemoryBytes: Double?
    /// Open file descriptors.
    public var openDescriptors: Int?

    /// Creates a description of which nothing but the number is known.
    ///
    /// - Parameter pid: The process identifier.
    public init(pid: Int32) {
        self.pid = pid
    }

    /// Creates a description from a reading.
    ///
    /// - Parameters:
    ///   - pid: The process identifier.
    ///   - statistics: What was read.
    ///   - now: The present instant, in seconds since 1970-01-01 00:00 UTC.
    public init(pid: Int32, _ statistics: ProcessStatistics, at now: Double) {
        self.pid = pid
        startedAt = statistics.startTimeSeconds
        uptimeSeconds = statistics.startTimeSeconds.map { max(0, now - $0) }
        threads = statistics.threads
        cpuSeconds = statistics.cpuSeconds
        residentMemoryBytes = statistics.residentMemoryBytes
        openDescriptors = statistics.openDescriptors
    }
}
