// SPDX-License-Identifier: Apache-2.0

/// Exposes the standard `process_*` metrics of one process; what cannot be read is left out.
public final class ProcessSource: MetricSource {
    private let sampler: ProcessSampler

    /// Creates a source.
    ///
    /// - Parameter pid: The process; the calling one when `nil`.
    public init(pid: Int32? = nil) {
        sampler = ProcessSampler(pid: pid)
    }

    /// Reads the figures for one scrape.
    public func prepare() -> any PreparedMetrics {
        PreparedCollection(Self.families(of: sampler.sample()))
    }

    /// The families of figures that were read elsewhere, for a collector that needs them for more than these.
    ///
    /// - Parameter statistics: The figures.
    /// - Returns: A family for each figure that is known.
    public static func families(of statistics: ProcessStatistics) -> [CollectedFamily] {
        let figures: [(FamilyDescriptor, Double?)] = [
            (cpu, statistics.cpuSeconds),
            (maximumDescriptors, statistics.maximumDescriptors),
            (openDescriptors, statistics.openDescriptors.map(Double.init)),
            (residentMemory, statistics.residentMemoryBytes),
            (startTime, statistics.startTimeSeconds),
            (threads, statistics.threads.map(Double.init)),
            (virtualMemory, statistics.virtualMemoryBytes),
        ]
        return figures.compactMap { descriptor, value in value.map { CollectedFamily(descriptor, value: $0) } }
    }

    private static let cpu = FamilyDescriptor(
        name: "process_cpu_seconds_total", type: .counter, help: "Total user and system CPU time spent in seconds.",
        unit: .seconds)
    private static let maximumDescriptors = FamilyDescriptor(
        name: "process_max_fds", type: .gauge, help: "Maximum number of open file descriptors.")
    private static let openDescriptors = FamilyDescriptor(
        name: "process_open_fds", type: .gauge, help: "Number of open file descriptors.")
    private static let residentMemory = FamilyDescriptor(
        name: "process_resident_memory_bytes", type: .gauge, help: "Resident memory size in bytes.", unit: .bytes)
    private static let startTime = FamilyDescriptor(
        name: "process_start_time_seconds", type: .gauge,
        help: "Start time of the process since unix epoch in seconds.", unit: .seconds)
    private static let threads = FamilyDescriptor(
        name: "process_threads", type: .gauge, help: "Number of OS threads in the process.")
    private static let virtualMemory = FamilyDescriptor(
        name: "process_virtual_memory_bytes", type: .gauge, help: "Virtual memory size in bytes.", unit: .bytes)
}
