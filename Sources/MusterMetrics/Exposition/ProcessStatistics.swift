// SPDX-License-Identifier: Apache-2.0

/// What the kernel says about a process; what cannot be read is `nil`.
public struct ProcessStatistics: Hashable, Sendable {
    /// User and system time spent, in seconds.
    public var cpuSeconds: Double?
    /// Open descriptors.
    public var openDescriptors: Int?
    /// The limit of open descriptors; infinite when there is none.
    public var maximumDescriptors: Double?
    /// Address space in bytes.
    public var virtualMemoryBytes: Double?
    /// Memory in RAM in bytes.
    public var residentMemoryBytes: Double?
    /// When the process started, in seconds since 1970-01-01 00:00 UTC.
    public var startTimeSeconds: Double?
    /// Threads of the operating system.
    public var threads: Int?

    /// Creates figures of which nothing is known.
    public init() {}

    /// Reads the figures once; ``ProcessSampler`` is for reading them again and again.
    ///
    /// - Parameter pid: The process; the calling one when `nil`.
    public init(pid: Int32?) {
        self = ProcessSampler(pid: pid).sample()
    }
}
