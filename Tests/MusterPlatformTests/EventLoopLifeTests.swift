// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterLock
import MusterTestSupport
import Testing

@testable import MusterPlatform

@Suite(.timeLimit(.minutes(3))) struct EventLoopLifeTests {
    @Test func `a detached loop keeps its work and asks for a thread once`() async throws {
        let asked = Counter()
        let loop = try EventLoop(name: "detached", starter: { _ in asked.add() })
        let isOver = Latch(3)
        loop.submit { isOver.countDown() }
        loop.submit { isOver.countDown() }
        Task(executorPreference: loop) { isOver.countDown() }
        #expect(asked.value == 1 && isOver.remaining == 3)
        loop.stop()
        try await onThread { try loop.run() }
        #expect(isOver.remaining == 0 && asked.value == 1)
        loop.submit {}
        #expect(asked.value == 2, "the thread has left, so a new one is due")
    }

    @Test func `a stop that finds no thread starts none`() throws {
        let asked = Counter()
        let loop = try EventLoop(name: "stopped", starter: { _ in asked.add() })
        loop.stop()
        loop.retire()
        #expect(asked.value == 0)
        try loop.run()
        #expect(!loop.isRunning)
    }

    @Test func `a claimed loop asks for no thread`() async throws {
        let asked = Counter()
        let loop = try EventLoop(name: "claimed", starter: { _ in asked.add() })
        #expect(loop.claim())
        #expect(!loop.claim())
        let isOver = Counter()
        loop.submit { isOver.add() }
        loop.stop()
        try await onThread { try loop.run() }
        #expect(asked.value == 0 && isOver.value == 1)
    }

    @Test func `a second thread is refused while one runs the loop`() async throws {
        try await withLoop { loop in
            await loop.inTurn {}
            await #expect(throws: EventLoopBusyError(loop: "test")) {
                try await onThread { try loop.run() }
            }
            let again = await loop.inTurn { () -> EventLoopBusyError? in
                do throws(EventLoopBusyError) {
                    try loop.run()
                    return nil
                } catch {
                    return error
                }
            }
            #expect(again == EventLoopBusyError(loop: "test"))
            #expect(loop.isRunning && !loop.claim())
        }
    }

    @Test(arguments: everyParking)
    func `goes on where it was when it is run again`(parking: EventLoop.Parking) async throws {
        let loop = try EventLoop(name: "revived", parking: parking)
        let fired = Counter()
        let sleeper = Locked<Task<Void, any Error>?>(nil)
        loop.submit {
            // Which of the two runs it falls into does not matter; that it falls into one does.
            loop.schedule(at: .now.advanced(by: .milliseconds(2))) { fired.add() }
            let task = Task(executorPreference: loop) { try await loop.sleep(until: .distantFuture) }
            sleeper.withLock { $0 = task }
            loop.stop()
        }
        try await onThread { try loop.run() }
        #expect(!loop.isRunning)
        let task = try #require(sleeper.withLock { $0 })
        loop.submit {
            // Later than the first run's timer, so that one comes before.
            loop.schedule(at: .now.advanced(by: .milliseconds(3))) {
                if fired.value == 1 { fired.add() }
                task.cancel()
                loop.stop()
            }
        }
        try await onThread { try loop.run() }
        #expect(fired.value == 2, "the timer outlived the first thread")
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(!loop.isRunning && loop.timerCount == 0)
    }

    @Test func `leaves only when what is queued is done`() async throws {
        let loop = try EventLoop(name: "busy")
        let steps = Counter()
        let task = Task(executorPreference: loop) {
            loop.stop()
            for _ in 0..<1000 {
                steps.add()
                await Task.yield()
            }
        }
        try await onThread { try loop.run() }
        #expect(steps.value == 1000)
        await task.value
    }

    @Test(arguments: everyParking)
    func `work that races with a thread that leaves is never lost`(parking: EventLoop.Parking) async throws {
        let started = Counter()
        let loop = try EventLoop(
            name: "racing", parking: parking,
            starter: { loop in
                started.add()
                loop.startThread(name: "racing", keepAlive: .microseconds(Int64(started.value % 40)))
            })
        let each = 3000
        let threads = 3
        let isOver = Latch(threads * each)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for thread in 0..<threads {
                group.addTask {
                    try await onThread {
                        var generator = SplitMix64(seed: UInt64(thread))
                        for number in 0..<each {
                            if number % 2 == 0 {
                                loop.submit { isOver.countDown() }
                            } else {
                                Task(executorPreference: loop) { isOver.countDown() }
                            }
                            spin(Int.random(in: 0..<30, using: &generator))
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        await isOver.wait()
        // One piece at a time, with a pause in which the thread may leave or not.
        let before = started.value
        try await onThread {
            var generator = SplitMix64(seed: 7)
            for _ in 0..<1000 {
                let gate = Gate()
                loop.submit { gate.open() }
                gate.pass()
                spin(Int.random(in: 0..<80, using: &generator))
            }
        }
        #expect(started.value > before, "the test is worth nothing when the thread never left")
    }

    @Test(arguments: everyParking)
    func `tasks that race with a thread that leaves go on`(parking: EventLoop.Parking) async throws {
        let loop = try EventLoop(
            name: "racing", parking: parking,
            starter: { $0.startThread(name: "racing", keepAlive: .microseconds(5)) })
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask(executorPreference: loop) {
                    for _ in 0..<500 {
                        await withCheckedContinuation { continuation in
                            Task.detached { continuation.resume() }
                        }
                        #expect(loop.isCurrent)
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    @Test(arguments: everyParking)
    func `a thread that is held stays however idle it is`(parking: EventLoop.Parking) async throws {
        let hasLeft = Latch()
        let asked = Counter()
        let loop = try EventLoop(name: "held", parking: parking, starter: { _ in asked.add() })
        loop.hold()
        try loop.attachThread(name: "held", keepAlive: .microseconds(1)) { hasLeft.countDown() }
        let first = await loop.inTurn { NativeThread.currentIdentifier }
        for _ in 0..<200 {
            let later = await loop.inTurn { NativeThread.currentIdentifier }
            #expect(later == first)
        }
        #expect(hasLeft.remaining == 1 && asked.value == 0)
        let turns = loop.turnCount
        for _ in 0..<50 { try await onThread {} }
        #expect(loop.turnCount <= turns + 2, "it does not look at the clock meanwhile")
        loop.letGo()
        await hasLeft.wait()
        #expect(!loop.isRunning)
    }

    @Test func `a hold that comes while the thread waits to end keeps it`() async throws {
        var survivals = 0
        for round in 0..<300 {
            let hasLeft = Latch()
            let loop = try EventLoop(name: "held", starter: { $0.startThread(name: "held", keepAlive: .zero) })
            try loop.attachThread(name: "held", keepAlive: .microseconds(60)) { hasLeft.countDown() }
            let first = await loop.inTurn { NativeThread.currentIdentifier }
            spin(round % 3 == 0 ? 0 : round)
            loop.hold()
            // Held now: a thread that is there stays, and one that comes does too.
            let isStillThere = loop.isRunning
            let second = await loop.inTurn { NativeThread.currentIdentifier }
            let third = await loop.inTurn { NativeThread.currentIdentifier }
            #expect(second == third)
            if isStillThere {
                #expect(first == second)
                survivals += 1
            }
            loop.letGo()
            await hasLeft.wait()
        }
        #expect(survivals > 0, "the test is worth nothing when the thread was always gone")
    }

    @Test(.timeLimit(.minutes(2)), arguments: everyParking)
    func `a thread that is told to leave just as it goes to sleep leaves`(parking: EventLoop.Parking) async throws {
        for round in 0..<Scale.of(3000) {
            let hasLeft = Latch()
            let loop = try EventLoop(name: "left", parking: parking)
            try loop.attachThread(name: "left") { hasLeft.countDown() }
            await loop.inTurn {}
            // It is about to sleep by now.
            spin(round % 300)
            loop.leave()
            await hasLeft.wait()
        }
    }

    @Test(arguments: everyParking)
    func `a retired loop serves its timers before its thread ends`(parking: EventLoop.Parking) async throws {
        let hasLeft = Latch()
        let loop = try EventLoop(name: "retired", parking: parking)
        try loop.attachThread(name: "retired") { hasLeft.countDown() }
        let task = Task(executorPreference: loop) {
            loop.retire()
            try await loop.sleep(until: .now.advanced(by: .milliseconds(5)))
            return hasLeft.remaining
        }
        let remaining = try await task.value
        #expect(remaining == 1)
        await hasLeft.wait()
    }

    @Test(arguments: everyParking)
    func `an interrupted wait is not the end of the idle time`(parking: EventLoop.Parking) async throws {
        installSilentHandler()
        let asked = Counter()
        let hasLeft = Latch()
        let loop = try EventLoop(name: "idle", parking: parking, starter: { _ in asked.add() })
        try loop.attachThread(name: "idle", keepAlive: .seconds(3600)) { hasLeft.countDown() }
        let thread = await loop.inTurn {
            // Threads of Dispatch, whose mask the loop's thread has inherited, block it.
            var set = sigset_t()
            sigemptyset(&set)
            sigaddset(&set, SIGURG)
            pthread_sigmask(SIG_UNBLOCK, &set, nil)
            return pthread_self()
        }
        try await until { loop.busyTime() == .zero }
        let turns = loop.turnCount
        // A wait in epoll ends with the signal, and the loop makes a turn; one on a condition does not.
        var kills = 0
        while hasLeft.remaining == 1, parking == .descriptors ? loop.turnCount < turns + 3 : kills < 100 {
            pthread_kill(thread, SIGURG)
            kills += 1
            spin(50)
        }
        try #require(hasLeft.remaining == 1)
        let same = await loop.inTurn { pthread_self() }
        #expect(pthread_equal(same, thread) != 0 && asked.value == 0)
        loop.stop()
        await hasLeft.wait()
    }

    /// SIGURG does nothing by default, and interrupts no system call unless there is a handler.
    private func installSilentHandler() {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { @Sendable _ in }
        sigaction(SIGURG, &action, nil)
    }

    @Test(arguments: everyParking)
    func `a time to stay that is less than nothing is over at once`(parking: EventLoop.Parking) async throws {
        for keepAlive in [Duration.zero, .seconds(-1), .seconds(Int64.min + 1)] {
            let loop = try EventLoop(name: "brief", parking: parking)
            try await onThread { try loop.run(keepAlive: keepAlive) }
            #expect(!loop.isRunning)
        }
    }

    @Test func `work that comes before the started thread asks for no other`() async throws {
        let asked = Counter()
        let body = Locked<(@Sendable () -> Void)?>(nil)
        let loop = try EventLoop(
            name: "slow", starter: { _ in asked.add() },
            threadSource: { (_, _, start) in body.withLock { $0 = start } })
        loop.startThread(name: "slow")
        let ran = Counter()
        loop.submit { ran.add() }
        loop.stop()
        let start = try #require(body.withLock { $0 })
        try await onThread { start() }
        #expect(ran.value == 1 && asked.value == 0)
    }

    @Test func `a thread that cannot be had is tried again, by one chain of tries only`() async throws {
        let attempts = Counter()
        let threads = Counter()
        let loop = try EventLoop(
            name: "starved", starter: { $0.startThread(name: "starved") },
            threadSource: { (name, stackSize, body) throws(SystemError) in
                guard attempts.add() > 2 else { throw SystemError("pthread_create", code: EAGAIN) }
                threads.add()
                try NativeThread.start(name: name, stackSize: stackSize, body)
            })
        let isOver = Latch(50)
        for _ in 0..<50 { loop.submit { isOver.countDown() } }
        await isOver.wait()
        // Had every piece of work begun tries of its own, those due with the successful one would be over by now.
        await EventLoop.auxiliary.inTurn {}
        #expect(attempts.value == 3 && threads.value == 1)
        loop.stop()
    }

    @Test func `what a helper would do is done by another loop where no thread can be had`() async throws {
        let other = try EventLoop(name: "other")
        let isOver = Latch()
        try other.attachThread(name: "other") { isOver.countDown() }
        let helper = try EventLoop(
            name: "helper", starter: EventLoop.helperStarter(name: "helper", keepAlive: .seconds(10), or: other),
            threadSource: { (_, _, _) throws(SystemError) in throw SystemError("pthread_create", code: EAGAIN) })
        for _ in 0..<3 {
            let ran = Latch(2)
            // The work is the helper's all the same, and so is what it hands back.
            for _ in 0..<2 { helper.submit { if helper.isCurrent { other.submit { ran.countDown() } } } }
            await ran.wait()
        }
        #expect(await other.inTurn { other.isCurrent })
        other.stop()
        await isOver.wait()
    }

    @Test func `asking for a thread that cannot be had is an error, and the loop stays usable`() async throws {
        let isFirst = Counter()
        let loop = try EventLoop(
            name: "starved",
            threadSource: { (name, stackSize, body) throws(SystemError) in
                guard isFirst.add() > 1 else { throw SystemError("pthread_create", code: EAGAIN) }
                try NativeThread.start(name: name, stackSize: stackSize, body)
            })
        let ran = Latch()
        loop.submit { ran.countDown() }
        #expect(throws: SystemError("pthread_create", code: EAGAIN)) { try loop.attachThread(name: "starved") }
        #expect(!loop.isRunning)
        let isOver = Latch()
        try loop.attachThread(name: "starved") { isOver.countDown() }
        await ran.wait()
        loop.stop()
        await isOver.wait()
    }

    @Test func `a task may be resumed after everybody else has let go of its loop`() async throws {
        for _ in 0..<50 {
            let resume = Locked<CheckedContinuation<Void, Never>?>(nil)
            let isSuspended = Latch()
            let isOver = Latch()
            let task: Task<Void, Never>
            do {
                let loop = try EventLoop(
                    name: "gone", starter: { $0.startThread(name: "gone", keepAlive: .microseconds(1)) })
                try loop.attachThread(name: "gone", keepAlive: .microseconds(1)) { isOver.countDown() }
                task = Task(executorPreference: loop) {
                    await withCheckedContinuation { continuation in
                        resume.withLock { $0 = continuation }
                        isSuspended.countDown()
                    }
                }
            }
            await isSuspended.wait()
            await isOver.wait()
            resume.withLock { $0.take() }?.resume()
            await task.value
        }
    }

    @Test func `the shared loop of last resort serves those that have none`() async throws {
        let clock = SystemClock()
        let start = clock.now
        try await clock.sleep(for: .milliseconds(2))
        #expect(start.duration(to: clock.now) >= .milliseconds(2))
    }
}
