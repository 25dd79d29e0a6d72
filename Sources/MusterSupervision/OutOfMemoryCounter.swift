// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

/// Tells whether the kernel has killed processes of this one's control group for want of memory: a `SIGKILL` that
/// nobody of us has sent is then most likely that.
///
/// It reads `oom_kill` of `memory.events` (control groups version 2) or `memory.oom_control` (version 1).
package struct OutOfMemoryCounter: Sendable {
    /// Kept open: it is read before a dead worker is replaced.
    private let file: OwnedDescriptor?
    private var seen: UInt64?
    private var unclaimed: UInt64 = 0

    /// Finds this process' control group and remembers its count.
    ///
    /// - Parameter root: The folder that takes the place of `/`, for tests.
    package init(root: String = "") {
        file = Self.find(root: root).flatMap { path in
            let descriptor = open(path, O_RDONLY | O_CLOEXEC)
            return descriptor >= 0 ? OwnedDescriptor(descriptor) : nil
        }
        seen = read()
    }

    /// How many processes have been killed in the control group's life; `nil` where it cannot be read, as in the root
    /// group.
    package func read() -> UInt64? {
        file.flatMap { SmallFile.beginning(of: $0) }.flatMap { Self.kills(in: $0) }
    }

    /// Takes one kill that has not been claimed yet. To be called once for each child that `SIGKILL` ended unasked.
    ///
    /// - Returns: `false` when there is none, `nil` where it cannot be known.
    package mutating func claimKill() -> Bool? {
        guard let count = read() else { return nil }
        if let seen, count > seen { unclaimed += count - seen }
        seen = count
        guard unclaimed > 0 else { return false }
        unclaimed -= 1
        return true
    }

    /// Whether the kernel kills all processes of this control group when it kills one (`memory.oom.group` of version 2).
    ///
    /// - Parameter root: The folder that takes the place of `/`, for tests.
    static func killsWholeGroup(root: String = "") -> Bool {
        guard let events = find(root: root), events.hasSuffix("memory.events") else { return false }
        return SmallFile.beginning(of: events.dropLast("memory.events".count) + "memory.oom.group")?.first == "1"
    }

    private static func find(root: String) -> String? {
        guard let groups = SmallFile.beginning(of: root + "/proc/self/cgroup") else { return nil }
        var second: Substring?
        var candidates: [String] = []
        for line in groups.split(separator: "\n") {
            // HIERARCHY:CONTROLLERS:PATH
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            if fields[1].split(separator: ",").contains("memory") {
                // Inside a container the path may be the host's; the container's own group is the mount's root then.
                candidates = ["\(fields[2])", ""].map { "\(root)/sys/fs/cgroup/memory\($0)/memory.oom_control" }
            } else if fields[0] == "0", fields[1].isEmpty {
                second = fields[2]
            }
        }
        if candidates.isEmpty, let second {
            candidates = ["\(second)", ""].map { "\(root)/sys/fs/cgroup\($0)/memory.events" }
        }
        return candidates.first { SmallFile.beginning(of: $0).flatMap { kills(in: $0) } != nil }
    }

    private static func kills(in text: String) -> UInt64? {
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count == 2, words[0] == "oom_kill" { return UInt64(words[1]) }
        }
        return nil
    }
}
