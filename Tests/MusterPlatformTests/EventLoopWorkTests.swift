// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterLock
import MusterTestSupport
import Testing

@testable import MusterPlatform

@Suite(.timeLimit(.minutes(3))) struct EventLoopWorkTests {
    @Test(arguments: everyParking)
    func `runs what many threads hand in, each thread's in its order`(parking: EventLoop.Parking) async throws {
        let threads = 4
        let each = 10_000
        let seen = Locked([Int](repeating: 0, count: threads))
        let disorder = Counter()
        try await withLoop(parking) { loop in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for thread in 0..<threads {
                    group.addTask {
                        try await onThread {
                            for number in 1...each {
                                loop.submit {
                                    if !loop.isCurrent { disorder.add() }
                                    seen.withLock { seen in
                                        if seen[thread] != number - 1 { disorder.add() }
                                        seen[thread] = number
                                    }
                                }
                                if number % 100 == 0 { spin(thread) }
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            await loop.inTurn {}
        }
        let counts = seen.withLock { $0 }
        #expect(counts == [Int](repeating: each, count: threads))
        #expect(disorder.value == 0)
    }

    @Test(arguments: everyParking)
    func `runs steps of tasks that many threads resume, on its own thread`(parking: EventLoop.Parking) async throws {
        try await withLoop(parking) { loop in
            let strays = Counter()
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<1000 {
                    group.addTask(executorPreference: loop) {
                        for _ in 0..<5 {
                            // Resumed by whatever thread runs the detached task.
                            await withCheckedContinuation { continuation in
                                Task.detached { continuation.resume() }
                            }
                            if !loop.isCurrent { strays.add() }
                        }
                    }
                }
            }
            #expect(strays.value == 0)
        }
    }

    @Test(arguments: everyParking)
    func `a wake-up is never lost between two threads that take turns`(parking: EventLoop.Parking) async throws {
        let hops = 100_000
        try await withLoop(parking) { one in
            try await withLoop(.onDemand) { other in
                let isOver = Latch()
                PingPong(one, other, remaining: hops, isOver).play()
                await isOver.wait()
                #expect(isOver.remaining == 0)
            }
        }
    }

    /// A ball that two loops hand to each other; each has nothing else to do meanwhile.
    private struct PingPong: Sendable {
        let here: EventLoop
        let there: EventLoop
        let remaining: Int
        let isOver: Latch

        init(_ here: EventLoop, _ there: EventLoop, remaining: Int, _ isOver: Latch) {
            self.here = here
            self.there = there
            self.remaining = remaining
            self.isOver = isOver
        }

        func play() {
            guard remaining > 0 else { return isOver.countDown() }
            there.submit { PingPong(there, here, remaining: remaining - 1, isOver).play() }
        }
    }

    @Test func `tasks take turns`() async throws {
        try await withLoop { loop in
            let order = Locked<[Int]>([])
            try await loop.perform {
                await withTaskGroup(of: Void.self) { group in
                    for number in 0..<3 {
                        group.addTask {
                            for _ in 0..<100 {
                                order.withLock { $0.append(number) }
                                await Task.yield()
                            }
                        }
                    }
                }
            }
            let seen = order.withLock { $0 }
            #expect(seen == (0..<300).map { $0 % 3 })
        }
    }

    @Test func `tasks that yield take turns with each other and with all that is queued`() async throws {
        try await withLoop { loop in
            let order = Locked<[String]>([])
            let tasks = await loop.inTurn {
                var tasks = ["a", "b"].map { name in
                    Task(executorPreference: loop) {
                        for turn in 1...3 {
                            order.withLock { $0.append("\(name)\(turn)") }
                            await loop.yield()
                        }
                    }
                }
                tasks.append(Task(executorPreference: loop) { order.withLock { $0.append("c") } })
                return tasks
            }
            for task in tasks { await task.value }
            #expect(order.withLock { $0 } == ["a1", "b1", "c", "a2", "b2", "a3", "b3"])
        }
    }

    /// Its methods run on the thread of the task that calls them.
    private actor Yielding {
        private(set) var calls = 0

        func call(on loop: EventLoop) async {
            for _ in 0..<3 { await loop.yield() }
            calls += 1
        }
    }

    @Test func `an actor's code may yield on a loop's thread, too`() async throws {
        try await withLoop { loop in
            let actor = Yielding()
            let tasks = (0..<20).map { _ in
                Task(executorPreference: loop) {
                    await actor.call(on: loop)
                    return loop.isCurrent
                }
            }
            for task in tasks { #expect(await task.value) }
            #expect(await actor.calls == 20)
        }
    }

    @Test func `work from elsewhere is not held up by tasks that never stop yielding`() async throws {
        try await withLoop { loop in
            let spinners = (0..<200).map { _ in
                Task(executorPreference: loop) { while !Task.isCancelled { await Task.yield() } }
            }
            for _ in 0..<50 { await loop.inTurn {} }
            for spinner in spinners { spinner.cancel() }
            for spinner in spinners { await spinner.value }
        }
    }

    @Test(arguments: everyParking)
    func `a descriptor is not held up by a steady stream of work from elsewhere`(
        parking: EventLoop.Parking
    ) async throws {
        let pair = try SocketPair()
        try await withLoop(parking) { loop in
            let isSeen = Counter()
            let watch = await loop.inTurn {
                Result {
                    try loop.watch(pair.near.rawValue, for: .readable) { _ in
                        drain(pair.near)
                        isSeen.add()
                    }
                }
            }
            // Each work hands in the next before it ends, so that the loop has something to do at all times.
            @Sendable func goOn() {
                if isSeen.value == 0 { loop.submit(goOn) }
            }
            for _ in 0..<4 { loop.submit(goOn) }
            poke(pair.far)
            while isSeen.value == 0 { await loop.inTurn {} }
            await loop.inTurn { if let watch = try? watch.get() { loop.unwatch(watch) } }
        }
    }

    @Test func `an action that schedules itself in the past holds nobody up`() async throws {
        try await withLoop { loop in
            let isOver = Counter()
            @Sendable func again() {
                if isOver.value == 0 { loop.schedule(at: MonotonicInstant(nanoseconds: 1), again) }
            }
            await loop.inTurn { again() }
            for _ in 0..<10 { await loop.inTurn {} }
            isOver.add()
            await loop.inTurn {}
        }
    }

    @Test func `knows the thread it runs on`() async throws {
        #expect(EventLoop.current == nil)
        try await withLoop { loop in
            #expect(!loop.isCurrent)
            let isCurrent = await loop.inTurn { loop.isCurrent && EventLoop.current === loop }
            #expect(isCurrent)
            let inner = try EventLoop(name: "inner")
            let (inside, after) = await loop.inTurn { () -> (Bool, Bool) in
                let inside = Counter()
                inner.submit { if inner.isCurrent && !loop.isCurrent { inside.add() } }
                inner.stop()
                try? inner.run()
                return (inside.value == 1, loop.isCurrent)
            }
            #expect(inside && after, "a loop may run inside another one's turn")
        }
    }

    @Test func `tells its observer of turns and counts them`() async throws {
        final class Observer: EventLoopObserver {
            let turns = Counter()
            let steps = Counter()
            let backwards = Counter()

            func turnEnded(nanoseconds: Int64, jobs: Int) {
                turns.add()
                steps.add(jobs)
                if nanoseconds < 0 { backwards.add() }
            }
        }
        let observer = Observer()
        let count = try await withLoop(observer: observer) { loop in
            try await loop.perform {
                for _ in 0..<99 { try await loop.sleep(until: MonotonicInstant(nanoseconds: 0)) }
            }
            // The turn of the last step is over then; this is none.
            await withCheckedContinuation { continuation in loop.submit { continuation.resume() } }
            return loop.turnCount
        }
        #expect(observer.steps.value == 100, "one step to begin with and one after each sleep")
        #expect(observer.turns.value >= Int(count) && count > 0)
        #expect(observer.backwards.value == 0)
    }

    @Test func `shows for how long a turn has kept it`() async throws {
        try await withLoop { loop in
            let hasBegun = Latch()
            let gate = Gate()
            loop.submit {
                hasBegun.countDown()
                gate.pass()
            }
            await hasBegun.wait()
            let now = MonotonicInstant.now
            let busy = loop.busyTime(at: now)
            #expect(busy > .zero)
            #expect(loop.busyTime(at: now.advanced(by: .seconds(5))) == busy + .seconds(5))
            #expect(loop.busyTime(at: MonotonicInstant(nanoseconds: 0)) == .zero)
            gate.open()
            await loop.inTurn {}
        }
        let idle = try EventLoop(name: "idle")
        #expect(idle.busyTime() == .zero)
    }

    @Test func `a sleeping loop is not busy`() async throws {
        try await withLoop { loop in
            await loop.inTurn {}
            // It goes to sleep in its own time; the turn before it is over soon.
            while loop.busyTime() != .zero { await Task.yield() }
        }
    }
}
