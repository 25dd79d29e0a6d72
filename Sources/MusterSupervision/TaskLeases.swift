// SPDX-License-Identifier: Apache-2.0

/// Which worker of each group has the periodic tasks that run once over all workers, and what is known of their runs. Events
/// in, decisions out; belongs to the supervisor's thread.
///
/// A worker keeps the lease until its process has ended: until then it may still be in a run.
package struct TaskLeases: Sendable {
    /// What is known of one task's runs.
    package struct Record: Hashable, Sendable {
        package enum State: String, Hashable, Sendable {
            /// A run has begun, and not ended: its worker is in it, or has ended over it.
            case running
            case ended
            /// The task has ended itself for good.
            case done
        }

        package var state: State
        /// When the last run began, in nanoseconds of the wall clock.
        package var began: Int64
        /// How many runs in a row were begun and not ended.
        package var attempts: Int

        package init(state: State, began: Int64, attempts: Int) {
            self.state = state
            self.began = began
            self.attempts = attempts
        }
    }

    package static let mostTasks = 64
    package static let longestName = 128
    private static let longestKey = 17 + longestName

    /// The name of a task's record: tasks of several thread groups may have the same name.
    package static func key(group: String, task: String) -> String {
        // A hash, as a group's name may be of any length, and have line ends. It is the same in all processes.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in group.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits + " " + task
    }

    private struct Group {
        var holder: Int?
        var seekers: Set<Int> = []
        var records: [String: Record] = [:]
    }

    private var groups: [Int: Group] = [:]

    package init() {}

    /// A worker has tasks that run once.
    ///
    /// - Returns: Whether it has the lease now.
    package mutating func seek(_ incarnation: Int, of group: Int) -> Bool {
        groups[group, default: Group()].seekers.insert(incarnation)
        return grant(group) == incarnation
    }

    /// A worker's process has ended.
    ///
    /// - Returns: Who has the lease instead.
    package mutating func end(_ incarnation: Int, of group: Int) -> Int? {
        groups[group]?.seekers.remove(incarnation)
        guard groups[group]?.holder == incarnation else { return nil }
        groups[group]?.holder = nil
        return grant(group)
    }

    /// A worker is about to end: it keeps the lease until it has, and does not get it any more.
    package mutating func leave(_ incarnation: Int, of group: Int) {
        groups[group]?.seekers.remove(incarnation)
    }

    /// The latest worker: in a rolling restart the others are about to go.
    private mutating func grant(_ group: Int) -> Int? {
        guard groups[group]?.holder == nil, let next = groups[group]?.seekers.max() else { return nil }
        groups[group]?.holder = next
        return next
    }

    /// The holder tells of a run; what others tell is not believed.
    package mutating func record(
        _ state: Record.State, of task: String, by incarnation: Int, of group: Int, at time: Int64
    ) {
        guard groups[group]?.holder == incarnation, task.utf8.count <= Self.longestKey, !task.contains("\n") else {
            return
        }
        let known = groups[group]?.records[task]
        guard known != nil || groups[group]?.records.count ?? 0 < Self.mostTasks else { return }
        let began = state == .running ? time : known?.began ?? time
        let attempts = state == .running ? (known?.state == .running ? known?.attempts ?? 0 : 0) + 1 : 0
        groups[group]?.records[task] = Record(state: state, began: began, attempts: attempts)
    }

    /// The records of a group, for its holder: lines of a state, an instant, a number of attempts and a key.
    package func encoded(_ group: Int) -> String {
        (groups[group]?.records ?? [:]).map { name, record in
            "\(record.state.rawValue) \(record.began) \(record.attempts) \(name)"
        }.sorted().joined(separator: "\n")
    }

    package static func decode(_ text: String) -> [String: Record] {
        var records: [String: Record] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false)
            guard parts.count == 4, let state = Record.State(rawValue: String(parts[0])), let began = Int64(parts[1]),
                let attempts = Int(parts[2])
            else { continue }
            records[String(parts[3])] = Record(state: state, began: began, attempts: attempts)
        }
        return records
    }
}
