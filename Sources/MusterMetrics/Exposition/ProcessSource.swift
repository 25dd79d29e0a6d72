// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterPlatform

/// Exposes the standard `process_*` metrics of one process; what cannot be read is left out.
package final class ProcessSource: MetricSource {
    private let sampler: ProcessSampler

    /// Creates a source.
    ///
    /// - Parameter pid: The process; the calling one when `nil`.
    package init(pid: Int32? = nil) {
        sampler = ProcessSampler(pid: pid)
    }

    /// Reads the figures for one scrape.
    package func prepare(for format: ExpositionFormat) -> any PreparedMetrics {
        PreparedCollection(Self.families(of: sampler.sample()))
    }

    /// The families of figures that were read elsewhere, for a collector that needs them for more than these.
    ///
    /// - Returns: A family for each figure that is known.
    package static func families(of statistics: ProcessStatistics) -> [CollectedFamily] {
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

/// Reads the figures of one process, with what can be kept between two readings kept: `/proc/PID/stat` stays open.
///
/// It keeps no process alive, and never shows another one that has got the same number: a kept descriptor answers for
/// the process it was opened for only.
package final class ProcessSampler: Sendable {
    private let pid: pid_t
    private let folder: String
    private let statFile: OwnedDescriptor?
    private let startTimeSeconds: Double?

    /// Opens what is kept open.
    ///
    /// - Parameter pid: The process; the calling one when `nil`.
    package init(pid: Int32? = nil) {
        self.pid = pid ?? getpid()
        folder = "/proc/\(self.pid)"
        let descriptor = open("\(folder)/stat", O_RDONLY | O_CLOEXEC)
        let file = descriptor >= 0 ? OwnedDescriptor(descriptor) : nil
        statFile = file
        let ticks = Self.ticksPerSecond
        startTimeSeconds = file.flatMap(StatFields.init).flatMap { fields in
            Self.bootTime().flatMap { boot in ticks > 0 ? fields[.startTicks].map { boot + $0 / ticks } : nil }
        }
    }

    /// Reads the figures.
    ///
    /// - Returns: The figures; nothing but unknowns once the process is gone.
    package func sample() -> ProcessStatistics {
        var statistics = ProcessStatistics()
        guard let fields = statFile.flatMap(StatFields.init) else { return statistics }
        statistics.startTimeSeconds = startTimeSeconds
        statistics.cpuSeconds = cpuSeconds() ?? fields.cpuSeconds(ticksPerSecond: Self.ticksPerSecond)
        statistics.threads = fields[.threads].map { Int($0) }
        statistics.virtualMemoryBytes = fields[.virtualBytes]
        statistics.residentMemoryBytes = fields[.residentPages].map { $0 * Self.pageSize }
        statistics.anonymousMemoryBytes = Self.anonymousMemory(of: pid).map(Double.init)
        statistics.openDescriptors = openDescriptors()
        switch cmuster_descriptor_limit(pid) {
        case -1: statistics.maximumDescriptors = .infinity
        case let limit where limit >= 0: statistics.maximumDescriptors = Double(limit)
        default: break
        }
        return statistics
    }

    private static let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))
    private static let pageSize = Double(sysconf(Int32(_SC_PAGESIZE)))

    /// The process' CPU clock, which counts nanoseconds where `/proc` counts hundredths of a second.
    private func cpuSeconds() -> Double? {
        var clock = clockid_t()
        var time = timespec()
        guard clock_getcpuclockid(pid, &clock) == 0, clock_gettime(clock, &time) == 0 else { return nil }
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    /// The memory in RAM that is no file's, in bytes; nil once the process is gone.
    ///
    /// That is what a leak adds to, and about what the process' end gives back. Files and shared memory, the program
    /// itself among them, are not in it, however many processes have mapped them.
    package static func anonymousMemory(of pid: Int32) -> Int? {
        let fields = SmallFile.beginning(of: "/proc/\(pid)/statm", limit: 256)?.split(separator: " ").prefix(3)
        guard let fields, fields.count == 3, let resident = Int(fields[1]), let shared = Int(fields[2]) else {
            return nil
        }
        return max(0, resident - shared) * Int(pageSize)
    }

    private func openDescriptors() -> Int? {
        // Since Linux 6.2 the size of this folder is the number of open descriptors.
        var status = stat()
        guard stat("\(folder)/fd", &status) == 0 else { return nil }
        return status.st_size > 0 ? Int(status.st_size) : countEntries("\(folder)/fd")
    }

    /// Counts a folder's entries; the descriptor that is open for it does not count when it shows up itself.
    private func countEntries(_ path: String) -> Int? {
        guard let directory = opendir(path) else { return nil }
        defer { closedir(directory) }
        var count = 0
        while let entry = readdir(directory) {
            // "." and ".." are the only names that are no numbers.
            if entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { count += 1 }
        }
        return pid == getpid() ? count - 1 : count
    }

    private static func bootTime() -> Double? {
        let lines = SmallFile.beginning(of: "/proc/stat", limit: SmallFile.limit)?.split(separator: "\n")
        return lines?.first { $0.hasPrefix("btime ") }.flatMap { Double($0.dropFirst("btime ".count)) }
    }
}

/// What the kernel says about a process; what cannot be read is `nil`.
package struct ProcessStatistics: Hashable, Sendable {
    /// User and system time spent, in seconds.
    package var cpuSeconds: Double?
    /// Open descriptors.
    package var openDescriptors: Int?
    /// The limit of open descriptors; infinite when there is none.
    package var maximumDescriptors: Double?
    /// Address space in bytes.
    package var virtualMemoryBytes: Double?
    /// Memory in RAM in bytes.
    package var residentMemoryBytes: Double?
    /// Memory in RAM that is no file's, in bytes.
    package var anonymousMemoryBytes: Double?
    /// When the process started, in seconds since 1970-01-01 00:00 UTC.
    package var startTimeSeconds: Double?
    /// Threads of the operating system.
    package var threads: Int?

    /// Creates figures of which nothing is known.
    package init() {}

    /// Reads the figures once; ``ProcessSampler`` is for reading them again and again.
    ///
    /// - Parameter pid: The process; the calling one when `nil`.
    package init(pid: Int32?) {
        self = ProcessSampler(pid: pid).sample()
    }
}

/// The numbers of `/proc/PID/stat` that are of use here, read without allocating.
struct StatFields {
    /// Fields by their number in proc(5).
    enum Field: Int {
        case userTicks = 14
        case systemTicks = 15
        case threads = 20
        case startTicks = 22
        case virtualBytes = 23
        case residentPages = 24
    }

    private static let first = Field.userTicks.rawValue
    private static let last = Field.residentPages.rawValue

    /// The fields from ``Field/userTicks`` to ``Field/residentPages``.
    private var values = InlineArray<11, Double>(repeating: .nan)

    /// Reads the file from its beginning.
    ///
    /// - Parameter file: The open file; `nil` is returned when it cannot be read, as when the process is gone.
    init?(_ file: OwnedDescriptor) {
        let isRead = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 2048) { buffer in
            let count = pread(file.rawValue, buffer.baseAddress, buffer.count, 0)
            guard count > 0 else { return false }
            return parse(UnsafeBufferPointer(rebasing: buffer[..<count]))
        }
        if !isRead { return nil }
    }

    subscript(_ field: Field) -> Double? {
        let value = values[field.rawValue - Self.first]
        return value.isNaN ? nil : value
    }

    func cpuSeconds(ticksPerSecond: Double) -> Double? {
        guard ticksPerSecond > 0, let user = self[.userTicks], let system = self[.systemTicks] else { return nil }
        return (user + system) / ticksPerSecond
    }

    private mutating func parse(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        // The second field is the program's name in parentheses and may contain anything.
        guard var index = text.lastIndex(of: UInt8(ascii: ")")) else { return false }
        var number = 2
        while number < Self.last {
            while index < text.count, text[index] != UInt8(ascii: " ") { index += 1 }
            index += 1
            number += 1
            guard index < text.count else { return false }
            guard number >= Self.first else { continue }
            var value = 0.0
            var end = index
            while end < text.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(text[end]) {
                value = value * 10 + Double(text[end] - UInt8(ascii: "0"))
                end += 1
            }
            if end > index { values[number - Self.first] = value }
        }
        return true
    }
}
