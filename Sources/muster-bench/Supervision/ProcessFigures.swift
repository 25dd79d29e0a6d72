// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Glibc

/// What the system tells of another process.
struct ProcessFigures {
    let pid: pid_t

    /// Its share of the memory in bytes: a page counts by how many processes share it.
    var proportionalMemory: Double { memory("Pss:") }

    /// The bytes that are its own and changed.
    var privateDirtyMemory: Double { memory("Private_Dirty:") }

    private func memory(_ field: String) -> Double {
        let lines = SystemFile.read("/proc/\(pid)/smaps_rollup").split(separator: "\n")
        guard let words = lines.first(where: { $0.hasPrefix(field) })?.split(separator: " "), words.count > 1 else {
            return .nan
        }
        return (Double(words[1]) ?? .nan) * 1024
    }

    private var threadFolders: [String] {
        guard let folder = opendir("/proc/\(pid)/task") else { return [] }
        defer { closedir(folder) }
        var folders: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { name in
                String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { folders.append("/proc/\(pid)/task/\(name)") }
        }
        return folders
    }

    var threads: Int { threadFolders.count }

    /// How often its threads have begun to wait, as each does once more after a waking.
    var waits: Int {
        threadFolders.reduce(0) { total, folder in
            let lines = SystemFile.read(folder + "/status").split(separator: "\n")
            let line = lines.first { $0.hasPrefix("voluntary_ctxt_switches:") }
            return total + (line?.split(separator: "\t").last.flatMap { Int($0) } ?? 0)
        }
    }

    /// Its processor time in nanoseconds.
    var processorTime: Int64 {
        get throws {
            let time = cmusterbench_processor_time(pid)
            guard time > 0 else { throw BenchmarkError("process \(pid) is gone") }
            return time
        }
    }

    /// Whether it is a warm spare that waits.
    var isSleepingSpare: Bool {
        // proc_pid_stat(5): the state is behind the name in parentheses.
        let line = SystemFile.read("/proc/\(pid)/stat")
        guard let end = line.lastIndex(of: ")") else { return false }
        return line[..<end].hasSuffix("/spare") && line[end...].dropFirst(2).hasPrefix("S")
    }
}
