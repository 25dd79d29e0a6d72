// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import Muster
import MusterExecution
import MusterMetrics
import MusterPlatform
import MusterTestKit
import Testing

extension ProcessWide {
    @Suite("Handling signals", .timeLimit(.minutes(5)))
    struct SignalHandlerTests {
        private static let windowChange = UnixSignal(rawValue: SIGWINCH)

        @Test("The last handler added runs first", arguments: bothBackends)
        func order(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let signals = try SignalHandler(backend: backend)
                let calls = Recorder<String>()
                for name in ["first", "second", "third"] {
                    try signals.addHandler(for: .user1) { signal in calls.append("\(name) \(signal)") }
                }
                deliver(SIGUSR1)
                #expect(try await calls.first(3) == ["third SIGUSR1", "second SIGUSR1", "first SIGUSR1"])
                signals.clear()
            }
        }

        @Test("A delivery is counted once, however many want it", arguments: bothBackends)
        func countedOnce(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let calls = Recorder<Int>()
                var handlers: [SignalHandler] = []
                for number in 0..<3 {
                    let handler = try SignalHandler(backend: backend)
                    try handler.addHandler(for: .user1) { _ in calls.append(number) }
                    handlers.append(handler)
                }
                deliver(SIGUSR1)
                _ = try await calls.first(3)
                let counted = try backend.metrics.counterFamily(
                    "muster_signals_total", help: "Signals received.", labelNames: ["signal"])
                #expect(counted.labels("SIGUSR1").value == 1)
                for handler in handlers { handler.clear() }
            }
        }

        @Test("Handlers run as jobs of the backend", arguments: bothBackends)
        func job(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let signals = try SignalHandler(backend: backend)
                let names = Recorder<String?>()
                try signals.addHandler(for: .user2) { _ in names.append(Job.current?.name) }
                deliver(SIGUSR2)
                #expect(try await names.first(1) == ["signals"])
                signals.clear()
            }
        }

        @Test("One handler can serve several signals", arguments: bothBackends)
        func several(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let signals = try SignalHandler(backend: backend)
                let seen = Recorder<UnixSignal>()
                try signals.addHandlers(for: [.user1, .user2, Self.windowChange]) { seen.append($0) }
                deliver(SIGUSR1)
                deliver(SIGUSR2)
                deliver(SIGWINCH)
                #expect(try await seen.first(3) == [.user1, .user2, Self.windowChange])
                signals.clear()
            }
        }

        @Test("Two quick signals are both handled, one after the other", arguments: bothBackends)
        func quick(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let signals = try SignalHandler(backend: backend)
                let steps = Recorder<String>()
                let gate = Completion<Void>()
                try signals.addHandler(for: .user1) { _ in
                    steps.append("begin")
                    _ = try? await gate.wait()
                    steps.append("end")
                }
                deliver(SIGUSR1)
                deliver(SIGUSR1)
                try await steps.first(1)
                gate.complete(with: ())
                #expect(try await steps.first(4) == ["begin", "end", "begin", "end"])
                #expect(backend.metrics.value("muster_signals_total", ["signal": "SIGUSR1"]) == 2)
                signals.clear()
            }
        }

        @Test("Clearing gives the signals their default action back", arguments: bothBackends)
        func clear(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let signals = try SignalHandler(backend: backend)
                try signals.addHandlers(for: [.user1, .user2]) { _ in Issue.record("it was cleared") }
                try signals.ignore(Self.windowChange)
                #expect(Disposition(of: .user1) == .handled)
                #expect(Disposition(of: Self.windowChange) == .ignored)
                signals.clear()
                for signal in [UnixSignal.user1, .user2, Self.windowChange] {
                    #expect(Disposition(of: signal) == .byDefault)
                }
                signals.clear()
            }
        }

        @Test("An ignored signal does nothing, until it gets a handler again", arguments: bothBackends)
        func ignore(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let signals = try SignalHandler(backend: backend)
                let seen = Recorder<String>()
                try signals.addHandler(for: .user1) { _ in seen.append("old") }
                try signals.ignore(.user1)
                #expect(Disposition(of: .user1) == .ignored)
                deliver(SIGUSR1)
                try signals.addHandler(for: .user1) { _ in seen.append("new") }
                deliver(SIGUSR1)
                #expect(try await seen.first(1) == ["new"])
                #expect(backend.metrics.value("muster_signals_total", ["signal": "SIGUSR1"]) == 1)
                signals.clear()
            }
        }

        @Test("A signal that cannot be handled or ignored is refused", arguments: [SIGKILL, SIGSTOP])
        func refused(number: Int32) async throws {
            let signal = UnixSignal(rawValue: number)
            let name = number == SIGKILL ? "SIGKILL" : "SIGSTOP"
            try await TestBackend.with(.cooperative) { backend in
                let signals = try SignalHandler(backend: backend)
                let error = #expect(throws: SignalError.self) { try signals.addHandler(for: signal) { _ in } }
                #expect(error?.description.hasPrefix("\(name) cannot be handled or ignored: ") == true)
                #expect(throws: SignalError.self) { try signals.ignore(signal) }
                let seen = Recorder<UnixSignal>()
                #expect(throws: SignalError.self) {
                    try signals.addHandlers(for: [.user1, signal]) { seen.append($0) }
                }
                // What came before the refused one holds.
                deliver(SIGUSR1)
                try await seen.first(1)
                signals.clear()
            }
        }

        @Test("Signals are known by name")
        func names() {
            #expect(SignalHandler.isSignalSupported("SIGHUP"))
            #expect(!SignalHandler.isSignalSupported("SIG_UNBLOCK"))
            #expect(!SignalHandler.isSignalSupported("SIGFOO"))
            #expect(UnixSignal(name: "SIGTERM") == .terminate)
            #expect(UnixSignal(name: "TERM") == nil)
            #expect(UnixSignal.hangUp.description == "SIGHUP")
            #expect(UnixSignal(rawValue: 64).description == "signal 64")
        }

        @Test("Of two handlers' owners, the end of one leaves the other", arguments: bothBackends)
        func twoOwners(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let kept = try SignalHandler(backend: backend)
                let calls = Recorder<String>()
                try kept.addHandler(for: .user1) { _ in calls.append("kept") }
                let other = try SignalHandler(backend: backend)
                try other.addHandler(for: .user1) { _ in calls.append("other") }
                deliver(SIGUSR1)
                #expect(Set(try await calls.first(2)) == ["kept", "other"])
                other.clear()
                deliver(SIGUSR1)
                #expect(try await calls.first(3).last == "kept")
                #expect(Disposition(of: .user1) == .handled)
                kept.clear()
                #expect(Disposition(of: .user1) == .byDefault)
            }
        }

        @Test("An object that nobody keeps still handles its signals, until it is cleared", arguments: bothBackends)
        func letGo(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let seen = Recorder<Void>()
                weak var kept: SignalHandler?
                do {
                    let signals = try SignalHandler(backend: backend)
                    try signals.addHandler(for: .user1) { _ in seen.append(()) }
                    kept = signals
                }
                #expect(Disposition(of: .user1) == .handled)
                deliver(SIGUSR1)
                try await seen.first(1)
                try #require(kept).clear()
                #expect(Disposition(of: .user1) == .byDefault)
            }
        }

        @Test("Handlers added at once from many tasks are each called once", arguments: bothBackends)
        func addedAtOnce(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                for _ in 0..<20 {
                    let signals = try SignalHandler(backend: backend)
                    let calls = Recorder<Int>()
                    await withTaskGroup(of: Void.self) { tasks in
                        for index in 0..<8 {
                            tasks.addTask {
                                do {
                                    try signals.addHandler(for: .user1) { _ in calls.append(index) }
                                } catch {
                                    Issue.record(error)
                                }
                            }
                        }
                    }
                    deliver(SIGUSR1)
                    #expect(Set(try await calls.first(8)) == Set(0..<8))
                    deliver(SIGUSR1)
                    try await calls.first(16)
                    #expect(calls.count == 16)
                    signals.clear()
                }
            }
        }

        @Test("A signal after the engine's end is logged, and the process goes on")
        func afterShutDown() async throws {
            let log = CapturedLog()
            let backend = try TestBackend.make(.threading, logger: log.logger)
            let signals = try SignalHandler(backend: backend)
            try signals.addHandler(for: .user1) { _ in Issue.record("it has no job to run in") }
            try await backend.engine.shutDown()
            deliver(SIGUSR1)
            let other = try TestBackend.make(.threading)
            let behind = try SignalHandler(backend: other)
            let seen = Recorder<Void>()
            try behind.addHandler(for: .user2) { _ in seen.append(()) }
            // Deliveries keep their order, so the first has been dealt with when the second is seen.
            deliver(SIGUSR2)
            try await seen.first(1)
            #expect(log.messages(.error) == ["cannot handle signal"])
            signals.clear()
            behind.clear()
            try await other.engine.shutDown()
        }
    }
}

/// Sends a signal to the calling thread, where it is handled before this returns. The threads of Swift's pool block all
/// signals until something unblocks them.
private func deliver(_ signal: Int32) {
    var set = sigset_t()
    sigemptyset(&set)
    sigaddset(&set, signal)
    pthread_sigmask(SIG_UNBLOCK, &set, nil)
    raise(signal)
}
