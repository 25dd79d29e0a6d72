// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What the kernel says about a process in `/proc`; what cannot be read is `nil`.
public struct ProcessStatistics: Sendable {
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

    /// Reads the figures.
    ///
    /// - Parameter pid: The process; the calling one when `nil`.
    public init(pid: Int32? = nil) {
        let folder = "/proc/\(pid.map(String.init) ?? "self")"
        // The second field is the program's name in parentheses and may contain anything.
        if let text = Self.read("\(folder)/stat"), let end = text.lastIndex(of: ")") {
            let fields = text[text.index(after: end)...].split(separator: " ")
            func field(_ number: Int) -> Double? {
                fields.indices.contains(number - 3) ? Double(fields[number - 3]) : nil
            }
            let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
            if ticks > 0, let user = field(14), let system = field(15) { cpuSeconds = (user + system) / ticks }
            if let count = field(20) { threads = Int(count) }
            if ticks > 0, let start = field(22), let boot = Self.bootTime() { startTimeSeconds = boot + start / ticks }
            virtualMemoryBytes = field(23)
            if let pages = field(24) { residentMemoryBytes = pages * Double(sysconf(Int32(_SC_PAGESIZE))) }
        }
        openDescriptors = Self.countEntries("\(folder)/fd")
        if let text = Self.read("\(folder)/limits") {
            let line = text.split(separator: "\n").first { $0.hasPrefix("Max open files") }
            if let limit = line?.dropFirst("Max open files".count).split(separator: " ").first {
                maximumDescriptors = limit == "unlimited" ? .infinity : Double(limit)
            }
        }
    }

    private static func bootTime() -> Double? {
        guard let text = read("/proc/stat") else { return nil }
        let line = text.split(separator: "\n").first { $0.hasPrefix("btime ") }
        return line.flatMap { Double($0.dropFirst("btime ".count)) }
    }

    /// Counts a directory's entries; the descriptor that is open for it does not count when it shows up itself.
    private static func countEntries(_ path: String) -> Int? {
        guard let directory = opendir(path) else { return nil }
        defer { closedir(directory) }
        var count = 0
        let own = "\(dirfd(directory))"
        let isOwnProcess = path.hasPrefix("/proc/self/") || path.hasPrefix("/proc/\(getpid())/")
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasPrefix(".") || (isOwnProcess && name == own) { continue }
            count += 1
        }
        return count
    }

    private static func read(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return count == 0 ? String(decoding: bytes, as: UTF8.self) : nil }
            bytes.append(contentsOf: chunk[..<count])
        }
    }
}
