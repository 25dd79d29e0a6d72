// SPDX-License-Identifier: Apache-2.0

/// Exposes the standard `process_*` metrics of one process; what cannot be read is left out.
public final class ProcessSource: MetricSource {
    private let pid: Int32?

    /// Creates a source.
    ///
    /// - Parameter pid: The process; the calling one when `nil`.
    public init(pid: Int32? = nil) {
        self.pid = pid
    }

    /// Reads `/proc`.
    public func prepare() -> any PreparedMetrics {
        let statistics = ProcessStatistics(pid: pid)
        var families: [CollectedFamily] = []
        func add(_ name: String, _ type: MetricType, _ unit: MetricUnit?, _ help: String, _ value: Double?) {
            guard let value else { return }
            families.append(
                CollectedFamily(FamilyDescriptor(name: name, type: type, help: help, unit: unit), value: value))
        }
        add(
            "process_cpu_seconds_total", .counter, .seconds, "Total user and system CPU time spent in seconds.",
            statistics.cpuSeconds)
        add(
            "process_open_fds", .gauge, nil, "Number of open file descriptors.",
            statistics.openDescriptors.map(Double.init))
        add("process_max_fds", .gauge, nil, "Maximum number of open file descriptors.", statistics.maximumDescriptors)
        add(
            "process_virtual_memory_bytes", .gauge, .bytes, "Virtual memory size in bytes.",
            statistics.virtualMemoryBytes)
        add(
            "process_resident_memory_bytes", .gauge, .bytes, "Resident memory size in bytes.",
            statistics.residentMemoryBytes)
        add(
            "process_start_time_seconds", .gauge, .seconds,
            "Start time of the process since unix epoch in seconds.", statistics.startTimeSeconds)
        add("process_threads", .gauge, nil, "Number of OS threads in the process.", statistics.threads.map(Double.init))
        return PreparedCollection(families)
    }
}
