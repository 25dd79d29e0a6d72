// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

/// A process and all that descend from it, as `/proc` shows them.
struct ProcessTree {
    let pids: [Int32]

    init(_ root: Int32) {
        var found = [root]
        var next = 0
        while next < found.count {
            let text = SmallFile.beginning(of: "/proc/\(found[next])/task/\(found[next])/children") ?? ""
            found += text.split(separator: " ").compactMap { Int32($0) }
            next += 1
        }
        pids = found
    }

    /// Proportional memory; `nil` where it may not be read.
    var pss: Double? {
        var sum = 0.0
        for pid in pids {
            guard let line = lines("/proc/\(pid)/smaps_rollup").first(where: { $0.hasPrefix("Pss:") }),
                let kilobytes = line.split(separator: " ").dropFirst().first.flatMap({ Double($0) })
            else { continue }
            sum += kilobytes * 1024
        }
        return sum > 0 ? sum : nil
    }

    /// Of the threads that live now.
    var contextSwitches: Double {
        var sum = 0.0
        for pid in pids {
            guard let folder = opendir("/proc/\(pid)/task") else { continue }
            defer { closedir(folder) }
            while let entry = readdir(folder) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                guard name.first != "." else { continue }
                for line in lines("/proc/\(pid)/task/\(name)/status") where line.contains("ctxt_switches") {
                    sum += line.split(whereSeparator: \.isWhitespace).last.flatMap { Double($0) } ?? 0
                }
            }
        }
        return sum
    }

    /// User and system time.
    var cpuSeconds: Double {
        pids.reduce(0) { sum, pid in
            guard let fields = SmallFile.statFields(in: "/proc/\(pid)"), fields.count > 12 else { return sum }
            return sum + ((Double(fields[11]) ?? 0) + (Double(fields[12]) ?? 0)) / Double(sysconf(Int32(_SC_CLK_TCK)))
        }
    }

    private func lines(_ path: String) -> [Substring] {
        (SmallFile.beginning(of: path) ?? "").split(separator: "\n")
    }
}

/// How long the machine's processors have worked and rested.
struct SystemLoad {
    private let total: Double
    private let idle: Double

    static var now: SystemLoad {
        let line = (SmallFile.beginning(of: "/proc/stat") ?? "").prefix { $0 != "\n" }
        let fields = line.split(separator: " ").dropFirst().prefix(8).map { Double($0) ?? 0 }
        return SystemLoad(total: fields.reduce(0, +), idle: fields.count > 4 ? fields[3] + fields[4] : 0)
    }

    func busy(since earlier: SystemLoad) -> Double {
        let time = total - earlier.total
        return time > 0 ? 1 - (idle - earlier.idle) / time : 0
    }
}
