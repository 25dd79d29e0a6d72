// SPDX-License-Identifier: Apache-2.0

import MusterSupervision
import Testing

@Suite("Leases of periodic tasks")
struct TaskLeasesTests {
    @Test("The first one has it until its end, and then the latest one")
    func holders() {
        var leases = TaskLeases()
        let granted = (1...3).map { leases.seek($0, of: 0) }
        #expect(granted == [true, false, false])
        let isGrantedInOther = leases.seek(4, of: 1)
        #expect(isGrantedInOther)
        let next = [2, 1, 3].map { leases.end($0, of: 0) }
        #expect(next == [nil, 3, nil])
        let isGrantedLater = leases.seek(5, of: 0)
        #expect(isGrantedLater)
        let unknown = leases.end(9, of: 7)
        #expect(unknown == nil)
    }

    @Test("One that is about to end keeps it until then, and does not get it any more")
    func leaving() {
        var leases = TaskLeases()
        for incarnation in [3, 2, 1] { _ = leases.seek(incarnation, of: 0) }
        leases.leave(3, of: 0)
        leases.leave(2, of: 0)
        leases.record(.running, of: "a task", by: 3, of: 0, at: 10)
        #expect(leases.encoded(0).isEmpty == false)
        let next = [3, 2].map { leases.end($0, of: 0) }
        #expect(next == [1, nil])
    }

    @Test("Tasks of two groups have records of their own, however long the groups' names are")
    func keys() {
        let keys = ["a", "b", "", "line\nend", String(repeating: "x", count: 5000)].map {
            TaskLeases.key(group: $0, task: "a task")
        }
        #expect(Set(keys).count == keys.count)
        let longest = TaskLeases.key(group: "a", task: String(repeating: "x", count: TaskLeases.longestName))
        var leases = TaskLeases()
        _ = leases.seek(1, of: 0)
        for key in keys + [longest] { leases.record(.ended, of: key, by: 1, of: 0, at: 1) }
        #expect(Set(TaskLeases.decode(leases.encoded(0)).keys) == Set(keys + [longest]))
    }

    @Test("What the holder tells of its runs is passed on, and nobody else is believed")
    func records() {
        var leases = TaskLeases()
        _ = leases.seek(1, of: 0)
        _ = leases.seek(2, of: 0)
        leases.record(.running, of: "a task", by: 1, of: 0, at: 10)
        leases.record(.running, of: "other", by: 2, of: 0, at: 10)
        leases.record(.running, of: "bad\nname", by: 1, of: 0, at: 10)
        #expect(TaskLeases.decode(leases.encoded(0)) == ["a task": .init(state: .running, began: 10, attempts: 1)])
        _ = leases.end(1, of: 0)
        leases.record(.running, of: "a task", by: 2, of: 0, at: 20)
        #expect(TaskLeases.decode(leases.encoded(0))["a task"] == .init(state: .running, began: 20, attempts: 2))
        leases.record(.ended, of: "a task", by: 2, of: 0, at: 30)
        #expect(TaskLeases.decode(leases.encoded(0))["a task"] == .init(state: .ended, began: 20, attempts: 0))
        leases.record(.done, of: "a task", by: 2, of: 0, at: 40)
        #expect(TaskLeases.decode(leases.encoded(0))["a task"]?.state == .done)
        #expect(leases.encoded(3).isEmpty)
    }

    @Test("They are bounded, and text that is none is left out")
    func bounds() {
        var leases = TaskLeases()
        _ = leases.seek(1, of: 0)
        for number in 0..<100 { leases.record(.ended, of: "\(number)", by: 1, of: 0, at: 1) }
        leases.record(.ended, of: String(repeating: "x", count: 146), by: 1, of: 0, at: 1)
        #expect(TaskLeases.decode(leases.encoded(0)).count == TaskLeases.mostTasks)
        #expect(TaskLeases.decode("running\nflying 1 1 x\nended x 1 y\nended 1 y\n\nended 5 0 ok").count == 1)
    }
}
