// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterSupervision

@Suite("Supervisor: recycling")
struct SupervisorRecycleTests {
    private static func web(
        workers: Int = 2, spares: Int = 0, memory: Int = 1000, age: Duration = .zero,
        minimumAge: Duration = .seconds(60)
    ) -> WorkerGroupConfiguration {
        WorkerGroupConfiguration(
            name: "web", workers: workers, warmSpares: spares,
            recycle: RecyclePolicy(memory: memory, age: age, minimumAge: minimumAge))
    }
    private static let first = WorkerID(group: 0, slot: 0)
    private static let second = WorkerID(group: 0, slot: 1)

    /// Workers that are old enough to be recycled.
    private static func old(_ configuration: WorkerGroupConfiguration) -> SupervisorRig {
        var rig = SupervisorRig.ready(configuration)
        rig.advance(configuration.recycle.minimumAge)
        return rig
    }

    @Test("The new process is ready before the old one stops, counted as recycled, and as nothing else")
    func recycle() {
        var configuration = Self.web()
        configuration.intensity = RestartIntensity(maximum: 0, whenExceeded: .escalate)
        var rig = Self.old(configuration)
        var actions = rig.send(.recycle(1, .memory(1234)))
        #expect(actions.deeds == [.spawn(3, .slot(Self.first))])
        #expect(actions.notices.first == .recycling(Self.first, incarnation: 1, .memory(1234)))
        #expect(rig.states() == [.ready, .ready])
        actions = rig.send(.ready(3))
        #expect(actions.deeds == [.stop(1)])
        #expect(actions.restarts == [.recycled])
        #expect(rig.state.isEveryWorkerReady)
        #expect(rig.exit(1).reasons == [.recycled])
        #expect(rig.slot(0).restartsByReason[.recycled] == 1)
        #expect(rig.slot(0).restartsByReason.total == 1)
        #expect(rig.slot(0).currentDelay == .zero)
        #expect(!rig.state.snapshot(at: rig.now).groups[0].isOverIntensity)
        #expect(rig.timers.isEmpty)
    }

    @Test("One at a time: the next one follows when the one before has exited, and not too soon")
    func oneAtATime() {
        var rig = Self.old(Self.web(workers: 3))
        #expect(rig.send(.recycle(2, .age)).spawned == [4])
        #expect(rig.send(.recycle(1, .age)).deeds == [])
        #expect(rig.send(.recycle(3, .age)).deeds == [])
        rig.send(.ready(4))
        rig.advance(.seconds(25))
        #expect(rig.states() == [.ready, .ready, .ready])
        #expect(rig.exit(2).spawned == [5])
        rig.send(.ready(5))
        // A third of the minimum age after the one before.
        #expect(rig.exit(1).deeds == [])
        #expect(rig.delay(.recycle(0)) == .seconds(20))
        #expect(rig.advance(.seconds(20)).spawned == [6])
    }

    @Test("A tenth of many at a time")
    func share() {
        var rig = Self.old(Self.web(workers: 20))
        for incarnation in 1...20 { rig.send(.recycle(incarnation, .age)) }
        #expect(rig.advance(.seconds(3)).spawned == [22])
        #expect(rig.advance(.seconds(30)).spawned == [])
    }

    @Test("No worker is recycled before its minimum age, whatever the reason")
    func minimumAge() {
        var rig = SupervisorRig.ready(Self.web())
        #expect(rig.send(.recycle(1, .requested("why not"))).deeds == [])
        #expect(rig.delay(.recycle(0)) == .seconds(60))
        #expect(rig.advance(.seconds(60)).spawned == [3])
    }

    @Test("A limit below what a fresh worker takes does not spin, and is warned of once")
    func limitTooLow() {
        var rig = SupervisorRig.ready(Self.web(workers: 1))
        var incarnation = 1
        var warnings = 0
        for _ in 0..<5 {
            var actions = rig.send(.recycle(incarnation, .memory(5000)))
            actions += rig.advance(.seconds(60))
            warnings += actions.notices.count { if case .tooLargeTooSoon = $0 { true } else { false } }
            #expect(actions.spawned == [incarnation + 1])
            rig.send(.ready(incarnation + 1))
            rig.exit(incarnation)
            incarnation += 1
        }
        #expect(warnings == 1)
        rig.send(.reconfigure([Self.web(workers: 1, memory: 2000)]))
        #expect(rig.send(.recycle(incarnation, .memory(5000))).notices.count == 1)
    }

    @Test("A replacement that does not get ready leaves the old worker as it is, and is tried again later")
    func fails() {
        var rig = Self.old(Self.web())
        rig.send(.recycle(1, .memory(1234)))
        let actions = rig.exit(3, code: 1)
        #expect(actions.notices.last == .replacementFailed(Self.first, incarnation: 3))
        #expect(rig.states() == [.ready, .ready])
        #expect(actions.spawned == [])
        #expect(rig.advance(.seconds(60)).spawned == [4])
    }

    @Test("At its age a worker is recycled; those that started together, not together")
    func age() {
        var rig = SupervisorRig.ready(Self.web(workers: 2, age: .seconds(1000)))
        let due = (1...2).compactMap { rig.delay(.age($0)) }
        #expect(due.count == 2 && due[0] != due[1])
        #expect(due.allSatisfy { (.seconds(900)...(.seconds(1000))).contains($0) })
        #expect(rig.advance(min(due[0], due[1])).spawned == [3])
        rig.send(.ready(3))
        #expect(rig.delay(.age(3)) != nil)
    }

    @Test("Another age holds at once for the workers that there are")
    func otherAge() {
        var rig = SupervisorRig.ready(Self.web(age: .seconds(10_000)))
        rig.advance(.seconds(500))
        #expect(rig.send(.reconfigure([Self.web(age: .seconds(100))])).spawned == [])
        #expect(rig.advance(.zero).spawned == [3])
        rig.send(.reconfigure([Self.web()]))
        #expect(rig.timers[.age(2)] == nil)
    }

    @Test("The limit of memory differs by a little from process to process, and holds for ready workers only")
    func memoryLimit() {
        var rig = SupervisorRig.ready(Self.web(workers: 2, spares: 1))
        #expect(!rig.state.exceedsMemory(1, bytes: 899))
        #expect(rig.state.exceedsMemory(1, bytes: 1000))
        #expect(
            (900...1000).contains { rig.state.exceedsMemory(1, bytes: $0) != rig.state.exceedsMemory(2, bytes: $0) })
        #expect(rig.state.memoryInterval(atMost: .seconds(5)) == .seconds(5))
        rig.send(.recycle(1, .memory(1000)))
        #expect(!rig.state.exceedsMemory(1, bytes: 2000))
        rig.send(.reconfigure([Self.web(memory: 0)]))
        #expect(!rig.state.exceedsMemory(2, bytes: .max))
        #expect(rig.state.memoryInterval(atMost: .seconds(5)) == nil)
    }

    @Test(
        "However short the minimum age is, memory is read ten times a second at most",
        arguments: [Duration.zero, .nanoseconds(1), .seconds(-1)])
    func shortMinimumAge(minimumAge: Duration) {
        var rig = SupervisorRig.ready(Self.web(minimumAge: minimumAge))
        #expect(rig.state.memoryInterval(atMost: .seconds(5)) == .milliseconds(100))
        rig.advance(.nanoseconds(1))
        #expect(rig.send(.recycle(1, .memory(1234))).spawned == [3])
    }

    @Test("Other limits take back what the ones before have marked, and not what the application asks for")
    func otherLimits() {
        var rig = Self.old(Self.web(workers: 3))
        #expect(rig.send(.recycle(1, .requested("x"))).spawned == [4])
        rig.send(.recycle(2, .memory(1000)))
        rig.send(.recycle(3, .age))
        rig.send(.reconfigure([Self.web(workers: 3, memory: 2000)]))
        #expect(rig.state.processes[1]?.recycling == .requested("x"))
        rig.send(.ready(4))
        rig.exit(1)
        #expect(rig.advance(.seconds(600)).spawned == [])
        #expect(rig.state.exceedsMemory(2, bytes: 2000) && !rig.state.exceedsMemory(2, bytes: 1500))
        rig.send(.reconfigure([Self.web(workers: 3, age: .seconds(100))]))
        #expect(rig.advance(.zero).spawned == [5])
    }

    @Test("A worker that dies while it waits is restarted as ever, and its successor owes nothing")
    func diesWaiting() {
        var rig = SupervisorRig.ready(Self.web())
        rig.send(.recycle(1, .age))
        rig.advance(.seconds(30))
        let actions = rig.kill(1)
        #expect(actions.restarts == [.signal])
        #expect(rig.timers[.recycle(0)] == nil)
        rig.send(.ready(3))
        #expect(rig.advance(.seconds(600)).deeds == [])
    }

    @Test("One that asks for it before it is ready has to wait, too")
    func asksWhileStarting() {
        var rig = SupervisorRig(Self.web(workers: 1))
        #expect(rig.send(.recycle(1, .requested("x"))) == [])
        rig.advance(.seconds(50))
        rig.send(.ready(1))
        #expect(rig.delay(.recycle(0)) == .seconds(60))
    }

    @Test("A roll replaces all of them; nothing is recycled beside it, and what is left afterwards is")
    func duringRoll() {
        var rig = Self.old(Self.web())
        rig.send(.reload)
        #expect(rig.send(.recycle(2, .age)).deeds == [])
        #expect(rig.send(.recycle(1, .age)).deeds == [])
        #expect(rig.exit(3, code: 1).spawned == [4])
        #expect(rig.state.processes[4]?.replaces == .recycled)
    }

    @Test("None in a shutdown, and none of slots that are no longer wanted")
    func notWanted() {
        var rig = Self.old(Self.web())
        rig.send(.recycle(2, .age))
        #expect(rig.send(.scale(group: 0, to: 1)).deeds == [.stop(2), .stop(3)])
        rig.exit(2)
        rig.exit(3)
        rig.send(.terminate)
        #expect(rig.send(.recycle(1, .age)) == [])
        #expect(rig.exit(1).deeds == [.finish(status: 0)])
        #expect(rig.timers.isEmpty)
    }
}
