// SPDX-License-Identifier: Apache-2.0

import Logging
import Muster
import MusterPlatform
import MusterTestKit
import Testing

@Suite("Dynamic looping calls", .timeLimit(.minutes(5)))
struct DynamicTests {
    /// Runs a loop whose function returns these delays one after the other, then ends.
    private func sleeps(
        _ delays: [Duration?], type: BackendType, initialDelay: Duration = .zero, longest: Duration? = nil
    ) async throws -> [Duration] {
        let clock = RecordedClock()
        return try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = DynamicLoopingCall(name: "dynamic", backend: backend) {
                let run = runs.append(())
                guard run <= delays.count else { throw LoopingCallDone() }
                return delays[run - 1]
            }
            try loop.start(initialDelay: initialDelay, maximumInterval: longest)
            try await loop.wait()
            return clock.sleeps
        }
    }

    @Test("The value of LoopingCallDone is what wait returns", arguments: bothBackends, [true, false])
    func done(type: BackendType, value: Bool) async throws {
        try await TestBackend.with(type, clock: RecordedClock()) { backend in
            let loop = DynamicLoopingCall(name: "done", backend: backend) { throw LoopingCallDone(value) }
            try loop.start()
            #expect(try await loop.wait().value as? Bool == value)
        }
    }

    @Test("An error ends the loop and is thrown by wait", arguments: bothBackends)
    func error(type: BackendType) async throws {
        try await TestBackend.with(type, clock: RecordedClock()) { backend in
            let loop = DynamicLoopingCall(name: "broken", backend: backend) { throw TestFailure() }
            try loop.start()
            await #expect(throws: TestFailure()) { try await loop.wait() }
        }
    }

    @Test("A loop that runs cannot be started again", arguments: bothBackends)
    func doubleStart(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let loop = DynamicLoopingCall(name: "twice", backend: backend) { .seconds(1) }
            try loop.start()
            #expect(throws: LoopingCallError.alreadyRunning(loop: "twice")) { try loop.start() }
            await clock.sleepers(atLeast: 1)
            loop.stop()
            loop.stop()
            try await loop.wait()
        }
    }

    @Test("Without a delay and a longest one it ends with an error", arguments: bothBackends)
    func missingDelay(type: BackendType) async throws {
        try await TestBackend.with(type, clock: RecordedClock()) { backend in
            let loop = DynamicLoopingCall(name: "mute", backend: backend) { nil }
            try loop.start()
            await #expect(throws: LoopingCallError.missingDelay(loop: "mute")) { try await loop.wait() }
            #expect(LoopingCallError.missingDelay(loop: "mute").description.contains("maximumInterval"))
        }
    }

    @Test("A missing delay ends it also with stopsOnError off", arguments: bothBackends)
    func missingDelayEnds(type: BackendType) async throws {
        try await TestBackend.with(type, clock: RecordedClock()) { backend in
            let loop = DynamicLoopingCall(name: "mute", backend: backend) { nil }
            try loop.start(stopsOnError: false)
            await #expect(throws: LoopingCallError.missingDelay(loop: "mute")) { try await loop.wait() }
        }
    }

    @Test("Without a delay it takes the longest", arguments: bothBackends)
    func longest(type: BackendType) async throws {
        #expect(try await sleeps([nil], type: type, longest: .seconds(5)) == [.seconds(5)])
    }

    @Test("Longer delays than the longest are cut", arguments: bothBackends)
    func cut(type: BackendType) async throws {
        let sleeps = try await sleeps([.seconds(11), .seconds(1)], type: type, longest: .seconds(5))
        #expect(sleeps == [.seconds(5), .seconds(1)])
    }

    @Test("The initial delay comes first", arguments: bothBackends)
    func initialDelay(type: BackendType) async throws {
        let sleeps = try await sleeps([.seconds(1)], type: type, initialDelay: .seconds(3), longest: .seconds(5))
        #expect(sleeps == [.seconds(3), .seconds(1)])
    }

    @Test("The delay counts from the end of the run", arguments: bothBackends)
    func fromEnd(type: BackendType) async throws {
        let clock = RecordedClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let runs = Recorder<Void>()
            let loop = DynamicLoopingCall(name: "long", backend: backend) {
                clock.stall(for: .seconds(30))
                if runs.append(()) == 3 { throw LoopingCallDone() }
                return .seconds(2)
            }
            try loop.start()
            try await loop.wait()
            #expect(clock.sleeps == [.seconds(2), .seconds(2)])
        }
    }

    @Test("Zero and negative delays do not spin", arguments: bothBackends)
    func noSpin(type: BackendType) async throws {
        let sleeps = try await sleeps([.zero, .seconds(-5), .nanoseconds(1)], type: type)
        #expect(sleeps == Array(repeating: .milliseconds(1), count: 3))
    }

    @Test("A failing loop that goes on waits", arguments: bothBackends, [nil, Duration.seconds(5)])
    func failing(type: BackendType, longest: Duration?) async throws {
        let clock = RecordedClock()
        let log = CapturedLog()
        try await TestBackend.with(type, clock: clock, logger: log.logger) { backend in
            let runs = Recorder<Void>()
            let loop = DynamicLoopingCall(name: "failing", backend: backend) {
                if runs.append(()) == 4 { throw LoopingCallDone() }
                throw TestFailure()
            }
            try loop.start(maximumInterval: longest, stopsOnError: false)
            try await loop.wait()
            #expect(clock.sleeps == Array(repeating: longest ?? DynamicLoopingCall.delayAfterFailure, count: 3))
            #expect(log.messages(.error).count == 3)
        }
    }
}
