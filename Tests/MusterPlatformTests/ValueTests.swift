// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterLock
import MusterTestSupport
import Testing

@testable import MusterPlatform

@Suite struct ValueTests {
    @Test(
        arguments: [
            (.zero, 0), (.nanoseconds(1), 1), (.seconds(-2), -2_000_000_000),
            (.milliseconds(-1500), -1_500_000_000),
            (Duration(secondsComponent: 0, attosecondsComponent: 999_999_999), 0),
            (.seconds(Int64.max), .max), (.seconds(Int64.min + 1), .min),
            (.seconds(9_223_372_036), 9_223_372_036_000_000_000),
            (.seconds(9_223_372_037), .max), (.seconds(-9_223_372_037), .min),
        ] as [(Duration, Int64)])
    func `durations are clamped to whole nanoseconds`(duration: Duration, nanoseconds: Int64) {
        #expect(duration.clampedNanoseconds == nanoseconds)
    }

    @Test func `durations in seconds keep their fraction and sign`() {
        #expect(Duration.milliseconds(1500).inSeconds == 1.5)
        #expect(Duration.milliseconds(-250).inSeconds == -0.25)
    }

    @Test func `instants hold at the ends of the clock`() {
        let end = MonotonicInstant.distantFuture
        #expect(end.advanced(by: .seconds(1)) == end)
        let start = MonotonicInstant(nanoseconds: .min)
        #expect(start.advanced(by: .seconds(-1)) == start)
        #expect(start.duration(to: end) == .nanoseconds(Int64.max))
        #expect(end.duration(to: start) == .nanoseconds(Int64.min))
        #expect(start < end)
        #expect(MonotonicInstant(nanoseconds: 5).advanced(by: .nanoseconds(-7)).nanoseconds == -2)
    }

    @Test func `the monotonic clock does not go back`() {
        let first = MonotonicInstant.now
        #expect(MonotonicInstant.now >= first)
    }

    @Test func `wall clock instants are as far apart as monotonic ones`() {
        let now = MonotonicInstant.now
        let apart =
            WallClock.secondsSinceEpoch(at: now.advanced(by: .seconds(1000)))
            - WallClock.secondsSinceEpoch(at: now.advanced(by: .seconds(-1000)))
        #expect(abs(apart - 2000) < 60)
        #expect(WallClock.secondsSinceEpoch > 1.5e9)
    }

    @Test func `instants beyond the wall clock's range do not wrap`() {
        #expect(WallClock.secondsSinceEpoch(at: .distantFuture) == .infinity)
        #expect(WallClock.secondsSinceEpoch(at: MonotonicInstant(nanoseconds: .max - 1)) == .infinity)
        #expect(WallClock.secondsSinceEpoch(at: MonotonicInstant(nanoseconds: .min)) == -.infinity)
    }

    @Test func `a system error says what failed and why`() {
        let error = SystemError("open", code: ENOENT)
        #expect(error.description == "open: No such file or directory (errno 2)")
        errno = EACCES
        #expect(SystemError("open").code == EACCES)
    }

    @Test func `an event loop error names the loop, the descriptor and the reason`() {
        #expect(EventLoopBusyError(loop: "hub").description.contains("'hub'"))
        let refused = DescriptorError.cannotWatch(descriptor: 7, SystemError("epoll_ctl", code: EBADF)).description
        #expect(refused.contains("7") && refused.contains("Bad file descriptor"))
    }

    @Test func `a lock keeps threads apart`() async throws {
        let number = Locked(0)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask { try await onThread { for _ in 0..<25_000 { number.withLock { $0 += 1 } } } }
            }
            try await group.waitForAll()
        }
        let sum = number.withLock { $0 }
        #expect(sum == 100_000)
    }

    @Test func `a lock is free again after a throw`() {
        struct Failure: Error {}
        let number = Locked(1)
        #expect(throws: Failure.self) {
            try number.withLock { number in
                number = 2
                throw Failure()
            }
        }
        let kept = number.withLock { $0 }
        #expect(kept == 2)
    }

    @Test func `an owned descriptor is closed with its owner`() throws {
        let pair = try SocketPair()
        var near: OwnedDescriptor? = OwnedDescriptor(dup(pair.near.rawValue))
        let copy = try #require(near?.rawValue)
        #expect(fcntl(copy, F_GETFD) >= 0)
        near = nil
        // Its number may be taken again by now, but not by the same socket.
        var status = stat()
        var original = stat()
        fstat(pair.near.rawValue, &original)
        #expect(fstat(copy, &status) != 0 || status.st_ino != original.st_ino)
    }
}
