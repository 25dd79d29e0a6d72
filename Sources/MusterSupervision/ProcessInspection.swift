// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// Looks, by `/proc`, into a process that makes no progress.
enum ProcessInspection {
    /// Whether it is busy dying: the Swift runtime writes the backtraces of a crash with a helper program, a child of the
    /// process, and keeps the process waiting for it.
    static func isWritingBacktraces(_ pid: Int32) -> Bool {
        for thread in ThreadList.identifiers(of: pid) {
            let children = SmallFile.beginning(of: "/proc/\(pid)/task/\(thread)/children") ?? ""
            for child in children.split(separator: " ") {
                // The kernel keeps fifteen bytes of a name.
                if SmallFile.beginning(of: "/proc/\(child)/comm")?.hasPrefix("swift-backtrace") == true { return true }
            }
        }
        return false
    }

    /// Whether its main thread has ended while others live: it will never serve again, nor exit by itself.
    static func isMainThreadDead(_ pid: Int32) -> Bool {
        state(ofThread: pid, of: pid) == "Z"
            && ThreadList.identifiers(of: pid).contains { thread in
                state(ofThread: thread, of: pid).map { $0 != "Z" && $0 != "X" } ?? false
            }
    }

    /// The standard stream that one of its threads waits to write to: nobody reads it. `nil` when there is none.
    static func blockedStream(_ pid: Int32) -> String? {
        for thread in ThreadList.identifiers(of: pid) {
            guard let call = SmallFile.beginning(of: "/proc/\(pid)/task/\(thread)/syscall") else { continue }
            let words = call.split(separator: " ")
            guard words.count > 1, let number = Int(words[0]), writeCalls.contains(number),
                let descriptor = Int32(words[1].dropFirst(2), radix: 16), 1...2 ~= descriptor
            else { continue }
            let stream = descriptor == 1 ? "standard output" : "standard error"
            return SmallFile.target(of: "/proc/\(pid)/fd/\(descriptor)").map { "\(stream) (\($0))" } ?? stream
        }
        return nil
    }

    #if arch(x86_64)
    private static let writeCalls = [1, 20]
    #else
    private static let writeCalls = [64, 66]
    #endif

    private static func state(ofThread thread: Int32, of pid: Int32) -> Character? {
        SmallFile.statFields(in: "/proc/\(pid)/task/\(thread)")?.first?.first
    }
}
