// SPDX-License-Identifier: Apache-2.0

import Foundation

/// What the kernel tells of a process in `/proc`. Of a process that is gone it tells nothing.
package struct ProcessFiles: Hashable {
    package let pid: Int32

    package init(pid: Int32) { self.pid = pid }

    /// The short name, which a worker takes from its slot: `store/0`.
    package var name: String { read("comm").trimmingCharacters(in: .whitespacesAndNewlines) }

    /// The processes that it has started.
    package var children: [ProcessFiles] {
        threads.flatMap { read("task/\($0)/children").split(separator: " ") }
            .compactMap { Int32($0) }.map { ProcessFiles(pid: $0) }
    }

    /// The process that has started it; `nil` when it is gone.
    package var parent: Int32? {
        read("status").firstMatch(of: /\nPPid:\s+(\d+)/).flatMap { Int32($0.1) }
    }

    /// Whether it has not ended; one that nobody has waited for yet has.
    package var isRunning: Bool { read("status").contains(/\nState:\s+[^ZX]/) }

    package var threads: [String] { list("task") }

    /// How often each thread has gone to sleep.
    package var sleeps: [String: Int] {
        var sleeps: [String: Int] = [:]
        for thread in threads {
            let text = read("task/\(thread)/status")
            guard let match = text.firstMatch(of: /\nvoluntary_ctxt_switches:\s+(\d+)/) else { continue }
            sleeps[thread] = Int(match.1)
        }
        return sleeps
    }

    /// The inodes of its sockets.
    package var sockets: Set<Substring> {
        let folder = "/proc/\(pid)/fd"
        var inodes: Set<Substring> = []
        for name in list("fd") {
            guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\(name)"),
                let match = target.firstMatch(of: /^socket:\[(\d+)\]$/)
            else { continue }
            inodes.insert(match.1)
        }
        return inodes
    }

    /// The connections that have been established at a local port: those that it has accepted, those that nobody has
    /// accepted yet, and anybody's.
    package func connections(at port: Int) -> (accepted: Int, waiting: Int, all: Int) {
        let suffix = ":" + String(format: "%04X", port)
        var accepted = 0
        var waiting = 0
        var all = 0
        // The table first: what is accepted between the two looks then counts as waiting, instead of not at all.
        let table = read("net/tcp")
        let own = sockets
        for line in table.split(separator: "\n").dropFirst() {
            let fields = line.split(separator: " ")
            guard fields.count > 9, fields[1].hasSuffix(suffix), fields[3] == "01" else { continue }
            all += 1
            if fields[9] == "0" { waiting += 1 } else if own.contains(fields[9]) { accepted += 1 }
        }
        return (accepted, waiting, all)
    }

    private func read(_ file: String) -> String {
        // By hand: Foundation asks for the size first, which is zero for all of these.
        guard let stream = fopen("/proc/\(pid)/\(file)", "r") else { return "" }
        defer { fclose(stream) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = fread(&chunk, 1, chunk.count, stream)
            if count == 0 { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func list(_ folder: String) -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/\(folder)")) ?? []
    }
}
