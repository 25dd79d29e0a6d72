// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterLock
import MusterTestSupport
import Testing

@testable import MusterPlatform

@Suite(.timeLimit(.minutes(3))) struct EventLoopDescriptorTests {
    @Test(arguments: everyParking)
    func `a task goes on when there is something to read`(parking: EventLoop.Parking) async throws {
        let pair = try SocketPair()
        try await withLoop(parking) { loop in
            let read = Task(executorPreference: loop) {
                try await loop.ready(pair.near.rawValue, for: .readable)
                return (drain(pair.near), loop.isCurrent)
            }
            await loop.inTurn {}
            poke(pair.far)
            let (count, isCurrent) = try await read.value
            #expect(count == 1 && isCurrent)
        }
    }

    @Test func `tasks go on when their descriptor has become another file`() async throws {
        let (pair, other) = (try SocketPair(), try SocketPair())
        try await withLoop { loop in
            let wait = { @Sendable in try await loop.ready(pair.near.rawValue, for: .readable) }
            let waiting = (0..<2).map { _ in Task(executorPreference: loop, operation: wait) }
            await loop.inTurn {}
            // Another process has the file, too.
            let kept = dup(pair.near.rawValue)
            defer { close(kept) }
            #expect(dup2(other.near.rawValue, pair.near.rawValue) >= 0)
            EventLoop.wakeWaiters(of: [pair.near.rawValue])
            for task in waiting { try await task.value }
            let next = Task(executorPreference: loop, operation: wait)
            await loop.inTurn {}
            poke(other.far)
            try await next.value
        }
    }

    @Test func `what is there already is noticed`() async throws {
        let pair = try SocketPair()
        poke(pair.far)
        try await withLoop { loop in
            for _ in 0..<3 { try await loop.perform { try await loop.ready(pair.near.rawValue, for: .readable) } }
        }
    }

    @Test func `a task goes on when there is room to write`() async throws {
        let pair = try SocketPair()
        try await withLoop { loop in
            let filled = fill(pair.near)
            let write = Task(executorPreference: loop) { try await loop.ready(pair.near.rawValue, for: .writable) }
            for _ in 0..<5 { await loop.inTurn {} }
            #expect(drain(pair.far) == filled)
            try await write.value
            #expect(fill(pair.near) > 0)
        }
    }

    @Test(arguments: [true, false])
    func `one task may read what another one writes to`(readsFirst: Bool) async throws {
        let pair = try SocketPair()
        try await withLoop { loop in
            fill(pair.near)
            let order = Locked<[String]>([])
            @Sendable func wait(_ events: DescriptorEvents, _ name: String) async throws {
                try await loop.ready(pair.near.rawValue, for: events)
                order.withLock { $0.append(name) }
            }
            let read = Task(executorPreference: loop) { try await wait(.readable, "read") }
            let write = Task(executorPreference: loop) { try await wait(.writable, "write") }
            await loop.inTurn {}
            if readsFirst {
                poke(pair.far)
                try await read.value
                drain(pair.far)
                try await write.value
            } else {
                drain(pair.far)
                try await write.value
                poke(pair.far)
                try await read.value
            }
            let seen = order.withLock { $0 }
            #expect(seen == (readsFirst ? ["read", "write"] : ["write", "read"]))
        }
    }

    @Test func `all who wait for the same go on`() async throws {
        let pair = try SocketPair()
        try await withLoop { loop in
            let waiting = (0..<10).map { _ in
                Task(executorPreference: loop) { try await loop.ready(pair.near.rawValue, for: .readable) }
            }
            await loop.inTurn {}
            poke(pair.far)
            for task in waiting { try await task.value }
        }
    }

    @Test(arguments: [DescriptorEvents.readable, .writable])
    func `a hang-up ends every wait`(events: DescriptorEvents) async throws {
        let pair = try SocketPair()
        fill(pair.near)
        try await withLoop { loop in
            let waiting = Task(executorPreference: loop) { try await loop.ready(pair.near.rawValue, for: events) }
            await loop.inTurn {}
            shutdown(pair.far.rawValue, Int32(SHUT_RDWR))
            try await waiting.value
        }
    }

    @Test func `a wait ends with its task's cancellation`() async throws {
        let pair = try SocketPair()
        try await withLoop { loop in
            for round in 0..<100 {
                let waiting = Task(executorPreference: loop) {
                    if round == 0 { withUnsafeCurrentTask { $0?.cancel() } }
                    try await loop.ready(pair.near.rawValue, for: .readable)
                }
                spin(round % 20)
                waiting.cancel()
                await #expect(throws: CancellationError.self) { try await waiting.value }
            }
            // Nothing is left that keeps the next one from its turn.
            poke(pair.far)
            try await loop.perform { try await loop.ready(pair.near.rawValue, for: .readable) }
        }
    }

    @Test func `one wait's cancellation leaves the others alone`() async throws {
        let pair = try SocketPair()
        try await withLoop { loop in
            let other = Task(executorPreference: loop) { try await loop.ready(pair.near.rawValue, for: .readable) }
            let cancelled = Task(executorPreference: loop) { try await loop.ready(pair.near.rawValue, for: .readable) }
            await loop.inTurn {}
            cancelled.cancel()
            await #expect(throws: CancellationError.self) { try await cancelled.value }
            poke(pair.far)
            try await other.value
        }
    }

    @Test func `cancellation and readiness may meet at any moment`() async throws {
        let pair = try SocketPair()
        try await withLoop { loop in
            var generator = SplitMix64(seed: 6)
            for _ in 0..<1000 {
                let waiting = Task(executorPreference: loop) {
                    try await loop.ready(pair.near.rawValue, for: .readable)
                }
                spin(Int.random(in: 0..<20, using: &generator))
                if Bool.random(using: &generator) {
                    poke(pair.far)
                    waiting.cancel()
                } else {
                    waiting.cancel()
                    poke(pair.far)
                }
                _ = await waiting.result
                drain(pair.near)
            }
        }
    }

    @Test func `a number that is closed and taken again is watched anew`() async throws {
        try await withLoop { loop in
            for _ in 0..<50 {
                let first = try SocketPair()
                // A number of our own choosing, which nobody else in the process takes meanwhile.
                let number = fcntl(first.near.rawValue, F_DUPFD_CLOEXEC, 700)
                poke(first.far)
                try await loop.perform { try await loop.ready(number, for: .readable) }
                let second = try SocketPair()
                dup2(second.near.rawValue, number)
                let waiting = Task(executorPreference: loop) { try await loop.ready(number, for: .readable) }
                await loop.inTurn {}
                poke(second.far)
                try await waiting.value
                close(number)
            }
        }
    }

    @Test func `a descriptor that is none is an error`() async throws {
        try await withLoop { loop in
            let error = await #expect(throws: DescriptorError.self) {
                try await loop.perform { try await loop.ready(9999, for: .readable) }
            }
            #expect(error == .cannotWatch(descriptor: 9999, SystemError("epoll_ctl", code: EBADF)))
            await #expect(throws: DescriptorError.self) {
                try await loop.perform { try await loop.ready(-1, for: .readable) }
            }
        }
    }

    @Test func `a regular file is always ready`() async throws {
        let file = OwnedDescriptor(open("/proc/self/exe", O_RDONLY | O_CLOEXEC))
        try await withLoop { loop in
            try await loop.perform { try await loop.ready(file.rawValue, for: [.readable, .writable]) }
            let refused = await loop.inTurn {
                Result { try loop.watch(file.rawValue, for: .readable) { _ in } }
            }
            #expect(
                throws: DescriptorError.cannotWatch(descriptor: file.rawValue, SystemError("epoll_ctl", code: EPERM))
            ) {
                try refused.get()
            }
        }
    }

    @Test func `a task of another executor may wait too`() async throws {
        let pair = try SocketPair()
        try await withLoop { loop in
            let waiting = Task.detached {
                try await loop.ready(pair.near.rawValue, for: .readable)
                return loop.isCurrent
            }
            poke(pair.far)
            let isOnLoop = try await waiting.value
            #expect(!isOnLoop, "it goes on where it came from")
            try await withLoop { other in
                let isBack = try await other.perform {
                    try await loop.ready(pair.near.rawValue, for: .readable)
                    return other.isCurrent
                }
                #expect(isBack)
            }
        }
    }

    @Test func `the loop may turn to descriptors while others wake it`() async throws {
        for _ in 0..<100 {
            let pair = try SocketPair()
            try await withLoop(.onDemand) { loop in
                let isOver = Latch(200)
                let waker = Task.detached {
                    for _ in 0..<200 { loop.submit { isOver.countDown() } }
                }
                poke(pair.far)
                try await loop.perform { try await loop.ready(pair.near.rawValue, for: .readable) }
                await waker.value
                await isOver.wait()
            }
        }
    }

    // MARK: Watches

    private func watch(
        _ loop: EventLoop, _ descriptor: OwnedDescriptor, _ events: DescriptorEvents = .readable,
        _ handler: @escaping @Sendable (DescriptorEvents) -> Void
    ) async throws -> EventLoop.Watch {
        try await loop.inTurn { Result { try loop.watch(descriptor.rawValue, for: events, handler) } }.get()
    }

    @Test func `a watch tells again and again until it is ended`() async throws {
        let pair = try SocketPair()
        try await withLoop { loop in
            let calls = Counter()
            let isThird = Latch(3)
            let watch = try await watch(loop, pair.near) { events in
                if !events.isDisjoint(with: .readable) && loop.isCurrent { calls.add() }
                isThird.countDown()
            }
            poke(pair.far)
            await isThird.wait()
            await loop.inTurn { loop.unwatch(watch) }
            let seen = calls.value
            #expect(seen >= 3, "it is level-triggered, and nobody has read the byte")
            for _ in 0..<5 { await loop.inTurn {} }
            #expect(calls.value == seen)
            await loop.inTurn { loop.unwatch(watch) }
        }
    }

    @Test func `a watch may be begun before the loop runs`() async throws {
        let pair = try SocketPair()
        let loop = try EventLoop(name: "early", parking: .descriptors)
        _ = try loop.watch(pair.near.rawValue, for: .readable) { _ in
            drain(pair.near)
            loop.stop()
        }
        poke(pair.far)
        try await onThread { try loop.run(keepAlive: .zero) }
        #expect(drain(pair.near) == 0)
    }

    @Test func `handlers may end watches and begin others`() async throws {
        let one = try SocketPair()
        let two = try SocketPair()
        try await withLoop { loop in
            let calls = Locked<[String]>([])
            let isOver = Latch()
            let watches = Locked<[EventLoop.Watch]>([])
            for pair in [one, two] {
                let watch = try await watch(loop, pair.near) { _ in
                    // Whichever comes first ends both, its own too.
                    calls.withLock { $0.append("old") }
                    for watch in watches.withLock({ $0 }) { loop.unwatch(watch) }
                    _ = try? loop.watch(one.near.rawValue, for: .readable) { _ in
                        calls.withLock { $0.append("new") }
                        drain(one.near)
                        isOver.countDown()
                    }
                }
                watches.withLock { $0.append(watch) }
            }
            await loop.inTurn {
                poke(one.far)
                poke(two.far)
            }
            await isOver.wait()
            await loop.inTurn {}
            let seen = calls.withLock { $0 }
            #expect(seen == ["old", "new"])
        }
    }

    @Test func `watches and waits share a descriptor`() async throws {
        let pair = try SocketPair()
        fill(pair.near)
        try await withLoop { loop in
            let reads = Counter()
            let other = Counter()
            let isSeen = Locked(Latch())
            // A wait that is over must not stand in a watch's way.
            poke(pair.far)
            try await loop.perform { try await loop.ready(pair.near.rawValue, for: .readable) }
            drain(pair.near)
            let write = Task(executorPreference: loop) { try await loop.ready(pair.near.rawValue, for: .writable) }
            await loop.inTurn {}
            let first = try await watch(loop, pair.near) { _ in
                drain(pair.near)
                reads.add()
                isSeen.withLock { $0 }.countDown()
            }
            let second = try await watch(loop, pair.near) { _ in other.add() }
            poke(pair.far)
            await isSeen.withLock { $0 }.wait()
            await loop.inTurn {}
            #expect(reads.value == 1 && other.value == 1)
            await loop.inTurn { loop.unwatch(second) }
            drain(pair.far)
            try await write.value
            let next = Latch()
            isSeen.withLock { $0 = next }
            poke(pair.far)
            await next.wait()
            #expect(reads.value == 2 && other.value == 1, "the task's wait did not end the watch")
            let read = Task(executorPreference: loop) { try await loop.ready(pair.near.rawValue, for: .readable) }
            await loop.inTurn {}
            await loop.inTurn { loop.unwatch(first) }
            poke(pair.far)
            try await read.value
        }
    }

    @Test func `an event for an ended watch does not reach the next one of the same number`() async throws {
        let pairs = try (0..<2).map { _ in try SocketPair() }
        try await withLoop { loop in
            let strays = Counter()
            let isOver = Latch()
            let watches = Locked<[EventLoop.Watch]>([])
            for (index, pair) in pairs.enumerated() {
                let watch = try await watch(loop, pair.near) { _ in
                    drain(pair.near)
                    guard index == 0 || watches.withLock({ $0.count }) == 2 else { return }
                    let other = pairs[1 - index]
                    let all = watches.withLock { watches in
                        defer { watches = [] }
                        return watches
                    }
                    guard !all.isEmpty else { return }
                    for watch in all { loop.unwatch(watch) }
                    // The other's event was found together with this one's; by now there is nothing to read.
                    drain(other.near)
                    _ = try? loop.watch(other.near.rawValue, for: .readable) { _ in strays.add() }
                    isOver.countDown()
                }
                watches.withLock { $0.append(watch) }
            }
            await loop.inTurn { for pair in pairs { poke(pair.far) } }
            await isOver.wait()
            for _ in 0..<3 { await loop.inTurn {} }
            #expect(strays.value == 0)
        }
    }

    @Test func `a loop that awaits or watches something is not idle`() async throws {
        let pair = try SocketPair()
        let hasLeft = Latch()
        let loop = try EventLoop(name: "watching")
        let waiting = Task(executorPreference: loop) { try await loop.ready(pair.near.rawValue, for: .readable) }
        try loop.attachThread(name: "watching", keepAlive: .microseconds(1)) { hasLeft.countDown() }
        for _ in 0..<20 { await loop.inTurn {} }
        #expect(hasLeft.remaining == 1)
        poke(pair.far)
        try await waiting.value
        await hasLeft.wait()
    }
}
