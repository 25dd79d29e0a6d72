// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import Muster
import MusterExecution
import MusterPlatform
import MusterTestKit
import MusterTestSupport
import Testing

/// A service with a thread that lasts until it is cancelled.
private struct LongService: ServiceBase {
    let name = "long"
    let threadGroup: ThreadGroup
    let calls: Recorder<String>
    /// How much time each stop was given.
    let given = Recorder<Duration?>()
    var stopsGroup = true

    func start() async throws {
        let calls = calls
        try await threadGroup.addThread(name: "long") {
            defer { calls.append("deferred") }
            try await withTaskCancellationHandler {
                try await SystemClock().sleep(for: .seconds(3600))
            } onCancel: {
                calls.append("cancelled")
            }
        }
        calls.append("started")
    }

    func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {
        given.append(deadline.map { MonotonicInstant.now.duration(to: $0) })
        if stopsGroup { try await threadGroup.stop(graceful: graceful, until: deadline) }
    }
}

/// A service that accepts connections until there is nothing to accept at.
private struct AcceptingService: ServiceBase {
    let name = "accepting"
    let threadGroup: ThreadGroup
    let socket: ListeningSocket
    let backend: Backend
    let calls: Recorder<String>

    func start() async throws {
        let (calls, engine, descriptor) = (calls, backend.engine, socket.descriptor)
        try await threadGroup.addThread(name: "accept") {
            while true {
                let connection = accept(descriptor, nil, nil)
                if connection >= 0 {
                    close(connection)
                    calls.append("accepted")
                } else if errno == EAGAIN {
                    calls.append("waiting")
                    try await engine.ready(descriptor, for: .readable)
                } else {
                    calls.append("errno \(errno)")
                    return
                }
            }
        }
    }
}

extension ProcessWide {
    @Suite("The stop of services", .timeLimit(.minutes(5)))
    struct StoppingTests {
        private let calls = Recorder<String>()

        private func long(_ backend: Backend) -> LongService {
            LongService(threadGroup: ThreadGroup(name: "long", backend: backend), calls: calls)
        }

        @Test("SIGTERM: a stop knows its deadline, and jobs are cancelled before it", arguments: bothBackends)
        func deadline(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend, timeout: .seconds(2))
                let service = long(backend)
                try program.launcher.launchService(service)
                let running = try await program.start()
                let begin = MonotonicInstant.now
                kill(getpid(), SIGTERM)
                #expect(await running.value == .failure)
                #expect(begin.duration(to: .now) >= .milliseconds(1500))
                #expect(calls.all == ["started", "cancelled", "deferred"])
                let given = try #require(service.given.all.first ?? nil)
                #expect(given > .seconds(1) && given <= .seconds(2))
                #expect(
                    program.log.messages(.warning) == ["graceful shutdown timeout nearly exceeded; cancelling jobs"])
            }
        }

        @Test("Jobs are cancelled although the stop of their service hangs", arguments: bothBackends)
        func hangingStop(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend, timeout: .seconds(2))
                let gate = Completion<Void>()
                let calls = calls
                try program.launcher.launchService(ProbeService("a", calls, onStop: { try await gate.wait() }))
                try backend.engine.spawn(name: "outside of groups") {
                    defer { calls.append("deferred") }
                    try await SystemClock().sleep(for: .seconds(3600))
                }
                let running = try await program.start()
                kill(getpid(), SIGTERM)
                #expect(try await program.exits.first(1) == [.failure])
                #expect(calls.all == ["a.start", "a.stopGracefully", "deferred"])
                #expect(await running.value == .failure)
                gate.complete(with: ())
            }
        }

        @Test("A start that hangs is cancelled before the deadline, too", arguments: bothBackends)
        func hangingStart(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend, timeout: .seconds(2))
                let calls = calls
                try program.launcher.launchService(
                    ProbeService(
                        "a", calls,
                        onStart: {
                            defer { calls.append("deferred") }
                            try await SystemClock().sleep(for: .seconds(3600))
                        }))
                let running = Task { await program.launcher.run() }
                try await calls.first(1)
                program.launcher.stop()
                #expect(await running.value == .failure)
                #expect(Set(calls.all.prefix(3)) == ["a.start", "deferred", "a.stopGracefully"])
            }
        }

        @Test("A stop that hangs after a failed start has a deadline", arguments: bothBackends)
        func hangingStopAfterFailure(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend, timeout: .seconds(1))
                let gate = Completion<Void>()
                try program.launcher.launchService(
                    ProbeService(
                        "a", calls, onStart: { throw TestFailure() }, onStop: { try await gate.wait() }))
                #expect(await program.launcher.run() == .failure)
                #expect(calls.all == ["a.start", "a.stop"])
                gate.complete(with: ())
            }
        }

        @Test("So has one after a restart that failed", arguments: bothBackends)
        func hangingStopAfterRestart(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend, timeout: .seconds(1))
                let (starts, stops, gate) = (Recorder<Void>(), Recorder<Void>(), Completion<Void>())
                try program.launcher.launchService(
                    ProbeService(
                        "a", calls, onStart: { if starts.append(()) == 2 { throw TestFailure() } },
                        onStop: { if stops.append(()) == 2 { try await gate.wait() } }))
                let running = try await program.start()
                kill(getpid(), SIGHUP)
                #expect(await running.value == .failure)
                #expect(calls.all == ["a.start", "a.stopGracefully", "a.reset", "a.start", "a.stop"])
                gate.complete(with: ())
            }
        }

        @Test("SIGHUP: what does not stop in time is cancelled, and the services start again", arguments: bothBackends)
        func restart(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend, timeout: .seconds(2))
                let service = long(backend)
                try program.launcher.launchService(service)
                let running = try await program.start()
                kill(getpid(), SIGHUP)
                try await calls.first(4)
                #expect(calls.all == ["started", "cancelled", "deferred", "started"])
                #expect((service.given.all.first ?? nil) ?? .zero > .seconds(1))
                #expect(program.exits.count == 0)
                kill(getpid(), SIGINT)
                _ = await running.value
            }
        }

        @Test("SIGHUP: a stop that hangs ends the process at the deadline", arguments: bothBackends)
        func hangingRestart(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend, timeout: .milliseconds(100))
                let gate = Completion<Void>()
                try program.launcher.launchService(ProbeService("a", calls, onStop: { try await gate.wait() }))
                let running = try await program.start()
                kill(getpid(), SIGHUP)
                #expect(try await program.exits.first(1) == [.failure])
                #expect(await running.value == .failure)
                gate.complete(with: ())
            }
        }

        @Test("A stop that forgets the thread group is warned of", arguments: bothBackends)
        func forgotten(type: BackendType) async throws {
            let log = CapturedLog()
            try await TestBackend.with(type, logger: log.logger) { backend in
                var service = long(backend)
                service.stopsGroup = false
                let services = try Services(backend: backend)
                try await services.add(service)
                try await services.start()
                await services.stop(graceful: true, until: nil)
                #expect(log.messages(.warning) == ["service stopped without its thread group"])
                #expect(log.metadata("jobs", of: "service stopped without its thread group") == ["long"])
                try await service.threadGroup.stop()
            }
        }

        // MARK: Accepting

        @Test("SIGTERM wakes a job that waits for connections", arguments: bothBackends)
        func accepting(type: BackendType) async throws {
            let folder = try TemporaryFolder()
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let socket = try program.launcher.listen("s", on: .unix(path: folder.path("s")))
                try program.launcher.launchService(
                    AcceptingService(
                        threadGroup: ThreadGroup(name: "accepting", backend: backend), socket: socket,
                        backend: backend, calls: calls))
                let running = try await program.start()
                try await calls.first(1)
                kill(getpid(), SIGTERM)
                #expect(await running.value == .success)
                #expect(calls.all == ["waiting", "errno \(EINVAL)"])
                #expect(throws: (any Error).self) { try Connection(path: folder.path("s")) }
            }
        }

        @Test("SIGHUP wakes it as well, and connections wait until it accepts again", arguments: bothBackends)
        func acceptingAgain(type: BackendType) async throws {
            let folder = try TemporaryFolder()
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let socket = try program.launcher.listen("s", on: .unix(path: folder.path("s")))
                try program.launcher.launchService(
                    AcceptingService(
                        threadGroup: ThreadGroup(name: "accepting", backend: backend), socket: socket,
                        backend: backend, calls: calls))
                let (reached, gate) = (Completion<Void>(), Completion<Void>())
                try program.launcher.launchService(
                    ProbeService(
                        "b", Recorder(),
                        onReset: {
                            reached.complete(with: ())
                            try await gate.wait()
                        }))
                let running = try await program.start()
                try await calls.first(1)
                kill(getpid(), SIGHUP)
                try await reached.wait()
                let connection = try Connection(path: folder.path("s"))
                gate.complete(with: ())
                try await calls.first(4)
                kill(getpid(), SIGTERM)
                #expect(await running.value == .success)
                #expect(
                    calls.all == ["waiting", "errno \(EINVAL)", "accepted", "waiting", "errno \(EINVAL)"])
                withExtendedLifetime(connection) {}
            }
        }

        // MARK: Reloads that come early

        @Test("SIGHUP during the start reloads afterwards", arguments: bothBackends)
        func hangUpDuringStart(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let (gate, caught) = (Completion<Void>(), Completion<Void>())
                try program.launcher.launchService(
                    ProbeService("a", calls, onStart: { try await gate.wait() }))
                let signals = try SignalHandler(backend: backend)
                try signals.addHandler(for: .hangUp) { _ in caught.complete(with: ()) }
                let running = Task { await program.launcher.run() }
                try await calls.first(1)
                kill(getpid(), SIGHUP)
                // Both have been told when the one that subscribed first, and so is told last, has been.
                try await caught.wait()
                signals.clear()
                gate.complete(with: ())
                try await program.ready.wait()
                program.launcher.stop()
                #expect(await running.value == .success)
                #expect(
                    calls.all == ["a.start", "a.stopGracefully", "a.reset", "a.start", "a.stopGracefully"])
            }
        }

        @Test(
            "SIGHUPs during a restart lead to one more", arguments: bothBackends, [RestartMethod.reload, .mutate])
        func hangUpDuringRestart(type: BackendType, method: RestartMethod) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend, restartMethod: method)
                let (reached, gate) = (Completion<Void>(), Completion<Void>())
                try program.launcher.launchService(
                    ProbeService(
                        "a", calls,
                        onReset: {
                            reached.complete(with: ())
                            try await gate.wait()
                        }))
                let running = try await program.start()
                kill(getpid(), SIGHUP)
                try await reached.wait()
                // Submitted in their order, as the signals are.
                for _ in 0..<3 { program.launcher.restart() }
                gate.complete(with: ())
                try await calls.first(method == .reload ? 7 : 3)
                while await !program.failures(at: .ready).isEmpty { await Task.yield() }
                program.launcher.stop()
                #expect(await running.value == .success)
                #expect(calls.all.count { $0 == "a.reset" } == 2)
            }
        }

        // MARK: Starts that do not end

        @Test("A start that takes long is told of, with the remedy", arguments: bothBackends)
        func longStart(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let log = CapturedLog()
                var settings = MusterSettings(endpoint: nil)
                settings.startupTimeout = .milliseconds(20)
                let launcher = try ServiceLauncher(
                    name: "test", settings: settings, backend: backend, logger: log.logger, exitNow: { _ in })
                let gate = Completion<Void>()
                try launcher.launchService(ProbeService("a", calls, onStart: { try await gate.wait() }))
                let running = Task { await launcher.run() }
                while log.metadata("service", of: "service has not started yet").isEmpty { await Task.yield() }
                #expect(log.metadata("service", of: "service has not started yet") == ["a"])
                #expect(log.metadata("remedy", of: "service has not started yet")[0].contains("start() has to return"))
                gate.complete(with: ())
                launcher.stop()
                #expect(await running.value == .success)
            }
        }

        @Test("Services that nobody has started cannot be awaited", arguments: bothBackends)
        func neverStarted(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let launcher = try Launcher(backend: backend)
                try await launcher.wait()
                try await launcher.launchService(ProbeService("a", calls))
                let error = await #expect(throws: ServicesError.self) { try await launcher.wait() }
                #expect(error.map { "\($0)" } == "service 'a' was never started: call start() before wait()")
                let services = try Services(backend: backend)
                try await services.add(ProbeService("b", calls))
                await #expect(throws: ServicesError.self) { try await services.wait() }
                try await launcher.start()
                try await launcher.wait()
                await launcher.stop()
                try await launcher.wait()
                #expect(calls.all == ["a.start", "a.wait", "a.stopGracefully", "a.wait"])
            }
        }
    }
}
