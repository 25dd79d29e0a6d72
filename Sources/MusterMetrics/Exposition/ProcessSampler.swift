// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterPlatform

/// Reads the figures of one process, with what can be kept between two readings kept: `/proc/PID/stat` stays open.
///
/// It keeps no process alive, and never shows another one that has got the same number: a kept descriptor answers for
/// the process it was opened for only.
public final class ProcessSampler: Sendable {
    private let pid: pid_t
    private let folder: String
    private let statFile: OwnedDescriptor?
    private let startTimeSeconds: Double?

    /// Opens what is kept open.
    ///
    /// - Parameter pid: The process; the calling one when `nil`.
    public init(pid: Int32? = nil) {
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
    public func sample() -> ProcessStatistics {
        var statistics = ProcessStatistics()
        guard let fields = statFile.flatMap(StatFields.init) else { return statistics }
        statistics.startTimeSeconds = startTimeSeconds
        statistics.cpuSeconds = cpuSeconds() ?? fields.cpuSeconds(ticksPerSecond: Self.ticksPerSecond)
        statistics.threads = fields[.threads].map { Int($0) }
        statistics.virtualMemoryBytes = fields[.virtualBytes]
        statistics.residentMemoryBytes = fields[.residentPages].map { $0 * Self.pageSize }
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
        let descriptor = open("/proc/stat", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes.append(contentsOf: chunk[..<count])
        }
        let line = bytes.split(separator: UInt8(ascii: "\n")).first { $0.starts(with: "btime ".utf8) }
        return line.flatMap { Double(String(decoding: $0.dropFirst("btime ".utf8.count), as: UTF8.self)) }
    }
}
