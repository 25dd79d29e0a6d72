// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport

/// A cgroup below this process' own whose memory is limited. It is removed with its owner.
final class MemoryGroup: Sendable {
    private let folder: String

    /// Whether one can be made here.
    static let isPermitted: Bool = (try? MemoryGroup(limit: 1 << 30)) != nil

    /// Whether the kernel can be told to kill one as a whole, which it can in the second version of control groups.
    static let canKillWhole: Bool = (try? MemoryGroup(limit: 1 << 30).killWhole()) != nil

    /// Makes one.
    ///
    /// - Parameter limit: The most bytes that its processes may use.
    init(limit: Int) throws {
        let lines = try String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8).split(separator: "\n")
            .map { $0.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false) }
        let file: String
        let parent: String
        if let old = lines.first(where: { $0.count == 3 && $0[1].split(separator: ",").contains("memory") }) {
            parent = "/sys/fs/cgroup/memory\(old[2])"
            file = "memory.limit_in_bytes"
        } else if let new = lines.first(where: { $0.count == 3 && $0[0] == "0" }) {
            parent = "/sys/fs/cgroup\(new[2])"
            file = "memory.max"
        } else {
            throw Program.Ended(description: "this process is in no cgroup")
        }
        folder = "\(parent)/muster-test-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        try "\(limit)".write(toFile: "\(folder)/\(file)", atomically: false, encoding: .utf8)
    }

    /// Where a process writes its number to join.
    var processes: String { "\(folder)/cgroup.procs" }

    /// Has the kernel kill all of its processes when it kills one.
    func killWhole() throws {
        let file = "\(folder)/memory.oom.group"
        guard FileManager.default.fileExists(atPath: file) else { throw Program.Ended(description: "no \(file)") }
        try "1".write(toFile: file, atomically: false, encoding: .utf8)
    }

    deinit { rmdir(folder) }
}
