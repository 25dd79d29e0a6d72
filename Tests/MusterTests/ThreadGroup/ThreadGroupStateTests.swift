// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import MusterTestSupport
import Testing

@testable import Muster

@Suite("Who waits for whom in a thread group")
struct ThreadGroupStateTests {
    private typealias Caller = ThreadGroupState.Caller

    // MARK: Single cases

    /// A group with threads 1, 2, … in it.
    private func group(capacity: Int, threads: Int) -> ThreadGroupState {
        var state = ThreadGroupState(capacity: capacity)
        for _ in 0..<threads {
            #expect(state.admit() == true)
            #expect(state.threadEntered() == .init())
        }
        return state
    }

    @Test("There is room up to the capacity")
    func capacity() {
        var state = group(capacity: 2, threads: 2)
        #expect(state.admit() == false)
        #expect(state.left(thread: 1) == .init())
        #expect(state.admit() == true)
        #expect(state.admit() == false)
        #expect(state.giveBack() == .init())
        #expect(state.admit() == true)
    }

    // What moved all that wait for each that got in took minutes.
    @Test("A long queue takes as long for each as a short one", .timeLimit(.minutes(5)))
    func longQueue() {
        var state = group(capacity: 1, threads: 1)
        let tickets = (0..<500_000).map { _ in state.enqueue(by: nil).ticket }
        var admitted: [UInt64] = []
        for thread in tickets.indices {
            admitted += state.left(thread: UInt64(thread + 1)).admitted
            _ = state.threadEntered()
        }
        #expect(admitted == tickets)
    }

    @Test("Who waits longest gets in first, and nobody overtakes")
    func firstComeFirstServed() {
        var state = group(capacity: 1, threads: 1)
        let (first, released) = state.enqueue(by: nil)
        #expect(released == .init())
        let (second, _) = state.enqueue(by: nil)
        #expect(state.queueLength == 2)
        #expect(state.left(thread: 1) == .init(admitted: [first]))
        #expect(state.admit() == false)
        _ = state.threadEntered()
        #expect(state.left(thread: 2) == .init(admitted: [second]))
    }

    @Test("Room that was given up goes to the next")
    func abandoned() {
        var state = group(capacity: 1, threads: 1)
        let (first, _) = state.enqueue(by: nil)
        let (second, _) = state.enqueue(by: nil)
        #expect(state.abandon(first) == .init())
        #expect(state.left(thread: 1) == .init(admitted: [second]))
        let (third, _) = state.enqueue(by: nil)
        // It had been let in already.
        #expect(state.abandon(second) == .init(admitted: [third]))
    }

    @Test("A full group whose threads all wait for room lets the first in beyond its capacity")
    func fullOfWaiters() {
        var state = group(capacity: 2, threads: 2)
        let (first, released) = state.enqueue(by: .thread(1))
        #expect(released == .init())
        let (second, next) = state.enqueue(by: .thread(2))
        #expect(next == .init(admitted: [first]))
        // The first one is no longer held: it may end, so the second goes on waiting.
        #expect(state.threadEntered() == .init())
        #expect(state.left(thread: 3) == .init())
        #expect(state.left(thread: 1) == .init(admitted: [second]))
    }

    @Test("A thread that waits for its group does not wait for itself")
    func waitFromInside() {
        var state = group(capacity: 4, threads: 2)
        let (first, released) = state.wait(.all, by: .thread(1))
        #expect(released == .init())
        let (second, both) = state.wait(.all, by: .thread(2))
        #expect(both == .init(finished: [first, second]))
    }

    @Test("A thread may wait for its group before the group knows of it")
    func waitBeforeEntering() {
        var state = ThreadGroupState(capacity: 4)
        #expect(state.admit() == true)
        // It runs, and waits, on its own thread, while the one that added it has yet to enter it.
        let (ticket, released) = state.wait(.all, by: .thread(1))
        #expect(released == .init())
        #expect(state.threadEntered() == .init(finished: [ticket]))
    }

    @Test("A timer may wait for its group before the group knows of it")
    func timerWaitsBeforeEntering() {
        var state = group(capacity: 4, threads: 1)
        let (timer, released) = state.wait(.all, by: .other(7))
        #expect(released == .init())
        // Thread 1 waits as well: for nobody, because the timer is not in yet.
        let (thread, next) = state.wait(.all, by: .thread(1))
        #expect(next == .init(finished: [thread]))
        #expect(state.entered(timer: 7) == .init())
        #expect(state.left(thread: 1) == .init(finished: [timer]))
    }

    @Test("Who waits from outside waits for those that wait inside, too")
    func waitFromOutside() {
        var state = group(capacity: 4, threads: 2)
        let (outside, _) = state.wait(.all, by: nil)
        let (other, _) = state.wait(.all, by: .other(99))
        let (inside, released) = state.wait(.all, by: .thread(1))
        #expect(released == .init())
        #expect(state.left(thread: 2) == .init(finished: [inside]))
        #expect(state.left(thread: 1) == .init(finished: [outside, other]))
    }

    @Test("A wait for the timers leaves the threads out")
    func timersOnly() {
        var state = group(capacity: 4, threads: 1)
        #expect(state.entered(timer: 2) == .init())
        let (timers, _) = state.wait(.timers, by: nil)
        let (all, _) = state.wait(.all, by: nil)
        #expect(state.left(timer: 2) == .init(finished: [timers]))
        #expect(state.left(thread: 1) == .init(finished: [all]))
    }

    @Test("A wait for nobody is over at once")
    func empty() {
        var state = ThreadGroupState(capacity: 0)
        let (ticket, released) = state.wait(.all, by: nil)
        #expect(released == .init(finished: [ticket]))
    }

    @Test("A wait that is given up releases nobody, and its job is waited for again")
    func givenUp() {
        var state = group(capacity: 4, threads: 2)
        let (ticket, _) = state.wait(.all, by: .thread(1))
        state.endWait(ticket)
        let (other, released) = state.wait(.all, by: .thread(2))
        #expect(released == .init())
        #expect(state.left(thread: 1) == .init(finished: [other]))
    }

    // MARK: Against a model

    /// The same rules, looked up afresh each time instead of kept.
    private struct Model {
        var capacity: Int
        var threads: [UInt64] = []
        var timers: [UInt64] = []
        var pending = 0
        var queue: [(ticket: UInt64, job: UInt64?)] = []
        var waits: [(ticket: UInt64, scope: ThreadGroupState.Scope, job: UInt64?)] = []

        func isHeld(_ job: UInt64) -> Bool {
            queue.contains { $0.job == job } || waits.contains { $0.job == job }
        }

        var hasRoom: Bool { threads.count + pending < capacity }
        var isStuck: Bool { pending == 0 && threads.allSatisfy(isHeld) }

        func isOver(_ scope: ThreadGroupState.Scope, for job: UInt64?) -> Bool {
            let isInside = (threads + timers).contains { $0 == job }
            let relevant = scope == .timers ? timers : timers + threads
            guard relevant.allSatisfy({ isInside && isHeld($0) }) else { return false }
            return scope == .timers || (pending == 0 && queue.isEmpty)
        }

        /// Who goes on now.
        mutating func settle() -> ThreadGroupState.Released {
            var released = ThreadGroupState.Released()
            while let first = queue.first, hasRoom || isStuck {
                released.admitted.append(first.ticket)
                queue.removeFirst()
                pending += 1
            }
            released.finished = waits.filter { isOver($0.scope, for: $0.job) }.map(\.ticket)
            waits.removeAll { released.finished.contains($0.ticket) }
            return released
        }
    }

    @Test(
        "In 200 random histories each waiter goes on exactly when it should",
        arguments: 1...200 as ClosedRange<UInt64>)
    func randomHistories(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        let capacity = Int.random(in: 1...4, using: &generator)
        var state = ThreadGroupState(capacity: capacity)
        var model = Model(capacity: capacity)
        var lastJob: UInt64 = 0
        var left: [UInt64] = []
        var admitted: [UInt64] = []
        var unticketed = 0
        for step in 0..<300 {
            // Now and then one that waits already, or a job that has left: tasks that it has started.
            let mayBeHeld = Int.random(in: 0..<4, using: &generator) == 0
            let inside = (model.threads + model.timers).filter { mayBeHeld || !model.isHeld($0) }
                .randomElement(using: &generator)
            let outside = mayBeHeld ? left.randomElement(using: &generator) : nil
            let job = Bool.random(using: &generator) ? inside ?? outside : nil
            let caller = job.map { $0 == inside && model.threads.contains($0) ? Caller.thread($0) : .other($0) }
            var released = ThreadGroupState.Released()
            switch Int.random(in: 0..<9, using: &generator) {
            case 0, 1:
                let hasRoom = model.queue.isEmpty && model.hasRoom
                #expect(state.admit() == hasRoom)
                if hasRoom {
                    model.pending += 1
                    unticketed += 1
                } else {
                    let result = state.enqueue(by: caller)
                    model.queue.append((result.ticket, job))
                    released = result.released
                }
            case 2, 3:
                guard unticketed + admitted.count > 0 else { continue }
                if unticketed > 0 { unticketed -= 1 } else { admitted.removeFirst() }
                lastJob += 1
                model.pending -= 1
                model.threads.append(lastJob)
                released = state.threadEntered()
            case 4:
                lastJob += 1
                model.timers.append(lastJob)
                released = state.entered(timer: lastJob)
            case 5:
                guard let inside else { continue }
                released = model.timers.contains(inside) ? state.left(timer: inside) : state.left(thread: inside)
                model.threads.removeAll { $0 == inside }
                model.timers.removeAll { $0 == inside }
                left.append(inside)
            case 6:
                let scope: ThreadGroupState.Scope = Bool.random(using: &generator) ? .all : .timers
                let result = state.wait(scope, by: caller)
                model.waits.append((result.ticket, scope, job))
                released = result.released
            case 7:
                guard let wait = model.waits.randomElement(using: &generator) else { continue }
                model.waits.removeAll { $0.ticket == wait.ticket }
                state.endWait(wait.ticket)
                continue
            default:
                if let waiting = model.queue.randomElement(using: &generator), Bool.random(using: &generator) {
                    model.queue.removeAll { $0.ticket == waiting.ticket }
                    released = state.abandon(waiting.ticket)
                } else if let ticket = admitted.popLast() {
                    model.pending -= 1
                    released = state.abandon(ticket)
                } else if unticketed > 0 {
                    unticketed -= 1
                    model.pending -= 1
                    released = state.giveBack()
                } else {
                    continue
                }
            }
            let expected = model.settle()
            #expect(released == expected, "step \(step)")
            admitted += released.admitted
            #expect(state.threads == model.threads.count)
            #expect(state.timers == Set(model.timers))
            #expect(state.queueLength == model.queue.count)
            // Nobody who could go on waits.
            #expect(model.queue.isEmpty || !(model.hasRoom || model.isStuck))
            #expect(!model.waits.contains { model.isOver($0.scope, for: $0.job) })
            if released != expected { return }
        }
    }
}

extension ThreadGroupState.Caller {
    fileprivate static func thread(_ job: UInt64) -> Self { Self(job: job, isThread: true) }
    fileprivate static func other(_ job: UInt64) -> Self { Self(job: job, isThread: false) }
}
