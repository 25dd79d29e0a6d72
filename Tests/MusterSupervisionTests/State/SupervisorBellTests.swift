// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterSupervision

@Suite("Supervisor: the bell")
struct SupervisorBellTests {
    private static let first = WorkerID(group: 0, slot: 0)

    /// Both workers are ready and have been for long; a spare, if there is one, is parked.
    private func rig(_ change: (inout WorkerGroupConfiguration) -> Void = { _ in }) -> SupervisorRig {
        var group = WorkerGroupConfiguration(name: "web", workers: 2)
        change(&group)
        var rig = SupervisorRig.ready(group)
        rig.advance(.seconds(20))
        return rig
    }

    @Test("A worker that rings is finished off and replaced at once; its exit says how it died, and is counted once")
    func ring() {
        var rig = rig()
        let actions = rig.send(.dying(1))
        #expect(actions.deeds == [.finishOff(1), .spawn(3, .slot(Self.first))])
        #expect(actions.notices.first == .dying(Self.first, incarnation: 1))
        #expect(rig.slot(0).starts == 2 && rig.slot(0).deathsByReason.total == 0)
        #expect(actions.restarts == [] && rig.slot(0).restartsByReason.total == 0)
        let end = rig.kill(1)
        #expect(end.deeds == [])
        #expect(end.reasons == [.signal] && end.restarts == [.signal])
        #expect(rig.slot(0).deathsByReason[.signal] == 1 && rig.slot(0).restartsByReason[.signal] == 1)
        #expect(rig.slot(0).incarnation == 3)
        rig.send(.ready(3))
        #expect(rig.states() == [.ready, .ready] && rig.timers.isEmpty)
    }

    @Test("A spare takes over at the bell")
    func spare() {
        var rig = rig { $0.warmSpares = 1 }
        #expect(rig.send(.dying(1)).deeds == [.finishOff(1), .promote(3, Self.first)])
        #expect(rig.send(.ready(3)).deeds == [.spawn(4, .spare(group: 0))])
        #expect(rig.exit(1, code: 3).restarts == [.exit])
    }

    @Test("A spare that has been told at the bell has the slot; the supervisor does not tell it again")
    func claim() {
        var rig = rig { $0.warmSpares = 2 }
        #expect(rig.state.heirs == [0: 3])
        #expect(rig.state.claimableSlot(of: 1) == Self.first)
        #expect(rig.send(.claimed(1, by: 3)).deeds == [.finishOff(1), .promoted(3, Self.first)])
        #expect(rig.slot(0).incarnation == 3 && rig.slot(0).starts == 2)
        // The bell itself, which comes after it.
        #expect(rig.send(.dying(1)) == [])
        #expect(rig.state.heirs == [0: 4])
        #expect(rig.exit(1, code: 3).restarts == [.exit])
        rig.send(.ready(3))
        #expect(rig.states() == [.ready, .ready])
        #expect(rig.slot(0).deathsByReason[.exit] == 1 && rig.slot(0).restartsByReason[.exit] == 1)
    }

    @Test("Two claims by one spare: it has the first slot, and the other one's bell is heard as without it")
    func twoClaims() {
        var rig = rig { $0.warmSpares = 1 }
        let second = WorkerID(group: 0, slot: 1)
        rig.send(.claimed(1, by: 3))
        #expect(rig.send(.claimed(2, by: 3)) == [])
        #expect(rig.send(.dying(2)).deeds == [.finishOff(2), .spawn(4, .slot(second))])
    }

    @Test("A claim of what is not to be had any more costs the spare, which has been told, and nothing else")
    func falseClaims() {
        var rig = rig { $0.warmSpares = 1 }
        // Scaled away.
        rig.send(.scale(group: 0, to: 1))
        #expect(rig.state.claimableSlot(of: 2) == nil)
        #expect(rig.send(.claimed(2, by: 3)).deeds.first == .kill(3))
        rig.exit(2)
        #expect(rig.kill(3).spawned == [4])
        rig.send(.parked(4))
        // There is nobody, or somebody else.
        for (dead, spare) in [(1, 99), (1, 3), (1, 1), (99, 99)] { #expect(rig.send(.claimed(dead, by: spare)) == []) }
        #expect(rig.send(.claimed(99, by: 4)).deeds == [.kill(4)])
        #expect(rig.kill(4).spawned == [5])
        rig.send(.parked(5))
        #expect(rig.slot(0).incarnation == 1 && rig.state.heirs == [0: 5])
    }

    @Test("A slot whose successor starts is that one's, and the spare that claims it is one too many")
    func claimWithSuccessor() {
        var rig = rig { group in
            group.warmSpares = 1
            group.recycle.minimumAge = .seconds(1)
        }
        #expect(rig.send(.recycle(1, .age)).spawned == [4])
        #expect(rig.state.heirs == [0: 3])
        #expect(rig.send(.claimed(1, by: 3)).deeds == [.kill(3)])
        #expect(rig.send(.dying(1)).deeds == [.finishOff(1)])
        #expect(rig.slot(0).incarnation == 4)
    }

    @Test("Once the end has begun, and where an exit is asked for first, no spare is on offer")
    func noHeirs() {
        var rig = rig { $0.warmSpares = 1 }
        rig.send(.terminate)
        #expect(rig.state.heirs == [:] && rig.state.claimableSlot(of: 1) == nil)
        var other = self.rig { group in
            group.warmSpares = 1
            group.policy = .onFailure
        }
        #expect(other.state.claimableSlot(of: 1) == nil)
        #expect(other.send(.claimed(1, by: 3)).deeds.first == .kill(3))
    }

    @Test("A slot is claimable from the moment that its process is ready, but not one without credit")
    func claimable() {
        var rig = SupervisorRig.ready(WorkerGroupConfiguration(name: "web", workers: 1, warmSpares: 1))
        #expect(rig.state.claimableSlot(of: 1) == Self.first)
        var incarnation = 1
        for _ in 0..<5 {
            rig.advance(.milliseconds(1))
            rig.kill(incarnation)
            incarnation = rig.slot(0).incarnation ?? 0
            rig.send(.ready(incarnation))
            for spare in rig.state.processes.all where spare.role.worker == nil { rig.send(.parked(spare.incarnation)) }
        }
        #expect(rig.state.claimableSlot(of: incarnation) == nil)
    }

    @Test("Only the first bell counts, and none after the exit")
    func again() {
        var rig = rig()
        rig.send(.dying(1))
        #expect(rig.send(.dying(1)) == [])
        #expect(rig.send(.unresponsive(1, canAbort: false)) == [])
        rig.kill(1)
        #expect(rig.send(.dying(1)) == [] && rig.send(.dying(99)) == [])
        rig.kill(2)
        #expect(rig.send(.dying(2)) == [])
    }

    @Test("Whoever is not ready, or on its way out, is waited for")
    func notReady() {
        var rig = SupervisorRig(WorkerGroupConfiguration(name: "web", workers: 2))
        #expect(rig.send(.dying(1)) == [])
        rig.send(.ready(1))
        rig.send(.ready(2))
        rig.send(.unresponsive(1, canAbort: true))
        #expect(rig.send(.dying(1)) == [])
        rig.send(.replace(WorkerID(group: 0, slot: 1)))
        rig.send(.ready(3))
        #expect(rig.send(.dying(2)) == [])
        #expect(rig.exit(2).reasons == [.requested])
    }

    @Test(
        "Where the exit decides what follows, it is waited for",
        arguments: [RestartPolicy.onFailure, .never])
    func policy(policy: RestartPolicy) {
        var rig = rig { $0.policy = policy }
        #expect(rig.send(.dying(1)) == [])
        #expect(rig.exit(1).spawned == [])
    }

    @Test("Nor is a launcher that ends after too many restarts ahead of the exit")
    func escalation() {
        var rig = rig { $0.intensity = RestartIntensity(maximum: 0, whenExceeded: .escalate) }
        #expect(rig.send(.dying(1)) == [])
        rig.kill(1)
        #expect(rig.state.phase == .stopping)
    }

    @Test("A slot that is delayed is not ahead of its delay; the bells of a series use up its credit as exits do")
    func backoff() throws {
        var rig = rig()
        rig.advance(.seconds(20))
        var incarnation = 1
        for next in 3...7 {
            // The first has been ready for long enough to cost nothing.
            #expect(rig.send(.dying(incarnation)).spawned == [next])
            rig.kill(incarnation)
            rig.send(.ready(next))
            rig.advance(.milliseconds(1))
            incarnation = next
        }
        #expect(rig.send(.dying(incarnation)).spawned == [8])
        rig.kill(incarnation)
        rig.send(.ready(8))
        rig.advance(.milliseconds(1))
        #expect(rig.send(.dying(8)) == [])
        #expect(rig.kill(8).spawned == [])
        #expect(rig.delay(.backoff(Self.first)) != nil)
    }

    @Test("A worker that is scaled away while it dies leaves nothing behind")
    func scaledAway() {
        var rig = rig()
        let second = WorkerID(group: 0, slot: 1)
        #expect(rig.send(.dying(2)).deeds == [.finishOff(2), .spawn(3, .slot(second))])
        #expect(rig.send(.scale(group: 0, to: 1)).deeds == [.stop(3)])
        #expect(rig.kill(2).deeds == [])
        #expect(rig.exit(3).deeds == [])
        #expect(rig.state.processes.all.map(\.incarnation) == [1] && rig.timers.isEmpty)
        // And the other way round.
        rig.send(.scale(group: 0, to: 2))
        rig.send(.ready(4))
        rig.send(.scale(group: 0, to: 1))
        #expect(rig.send(.dying(4)) == [])
    }

    @Test("The end waits for those that are dying")
    func end() {
        var rig = rig()
        rig.send(.dying(1))
        #expect(rig.send(.terminate).deeds == [.stop(2), .stop(3)])
        rig.exit(2)
        #expect(rig.exit(3).deeds == [])
        #expect(rig.kill(1).deeds == [.finish(status: 0)])
        #expect(rig.send(.dying(1)) == [])
    }

    @Test("No bell is heard once the end has begun")
    func afterEnd() {
        var rig = rig()
        rig.send(.terminate)
        #expect(rig.send(.dying(1)) == [])
        #expect(rig.kill(1).reasons == [.requested])
    }

    @Test("The successor in a rolling reload takes the slot of a worker that rings")
    func reload() {
        var rig = rig()
        #expect(rig.send(.reload).spawned == [3])
        #expect(rig.send(.dying(1)).deeds == [.finishOff(1)])
        #expect(rig.slot(0).incarnation == 3)
        rig.kill(1)
        let next = rig.send(.ready(3))
        #expect(next.spawned == [4])
        #expect(rig.send(.ready(4)).deeds == [.stop(2)])
        #expect(rig.exit(2).reloads == [.completed])
    }
}
