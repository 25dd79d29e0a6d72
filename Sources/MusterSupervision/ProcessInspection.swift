// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

/// Whether a process that makes no progress is busy dying: the Swift runtime writes the backtraces of a crash with a
/// helper program, and keeps the process waiting for it.
enum BacktraceWatch {
    /// Looks for the helper among a process' children.
    static func isUnderWay(in pid: Int32) -> Bool {
        guard let directory = opendir("/proc/\(pid)/task") else { return false }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let thread = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard Int32(thread) != nil, let children = SmallFile.beginning(of: "/proc/\(pid)/task/\(thread)/children")
            else {
                continue
            }
            for child in children.split(separator: " ") {
                // The kernel keeps fifteen bytes of a name.
                if SmallFile.beginning(of: "/proc/\(child)/comm")?.hasPrefix("swift-backtrace") == true { return true }
            }
        }
        return false
    }
}
