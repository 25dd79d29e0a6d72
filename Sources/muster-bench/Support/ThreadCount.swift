// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The process' native threads.
enum ThreadCount {
    /// How many there are.
    static var now: Int {
        // proc_pid_stat(5): behind the name in parentheses, num_threads is the eighteenth field.
        let line = SystemFile.read("/proc/self/stat")
        guard let name = line.lastIndex(of: ")") else { return 0 }
        let fields = line[name...].split(separator: " ")
        return fields.count > 18 ? Int(fields[18]) ?? 0 : 0
    }

    /// Waits until threads that are about to end have ended, at most five seconds: until then their memory is theirs.
    static func wait(untilAtMost limit: Int) {
        for _ in 0..<500 {
            if now <= limit { return }
            usleep(10_000)
        }
    }
}
