// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import Muster
import MusterExecution
import MusterPlatform
import MusterServiceLifecycle
import MusterTestKit
import ServiceLifecycle
import Testing

@Suite("A service of swift-service-lifecycle", .timeLimit(.minutes(2)))
struct LifecycleServiceTests {
    private let journal = Journal()

    private func service(_ name: String, _ backend: Backend, limit: Duration? = nil) -> LifecycleService {
        let journal = journal
        return LifecycleService(
            name: name, maximumGracefulShutdownDuration: limit, backend: backend, logger: silentLogger
        ) {
            ProbeService(name, journal)
        }
    }

    private func service(
        _ backend: Backend, placement: LifecyclePlacement = .backend, limit: Duration? = nil,
        _ body: @escaping @Sendable () async throws -> Void
    ) -> LifecycleService {
        LifecycleService(
            name: "a", placement: placement, maximumGracefulShutdownDuration: limit, backend: backend,
            logger: silentLogger
        ) {
            ProbeService(body)
        }
    }

    // MARK: Graceful ends

    @Test("It runs, and is shut down gracefully, the last one first", arguments: bothBackends)
    func gracefulStop(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let program = try LaunchedProgram(backend, service("a", backend), service("b", backend))
            let running = try await program.start()
            for entry in ["a.run", "b.run"] { try await journal.wait(for: entry) }
            program.launcher.stop()
            #expect(await running.value == .success)
            #expect(journal.all.count == 4)
            #expect(journal.all.suffix(2) == ["b.shutdown", "a.shutdown"])
            #expect(program.launcher.failure == nil)
        }
    }

    @Test("A graceful shutdown handler is called, in a child task too", arguments: bothBackends)
    func handler(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let over = Completion<Void>()
            let service = service(backend) { [journal] in
                async let child: Void = withGracefulShutdownHandler {
                    try await over.wait()
                } onGracefulShutdown: {
                    journal.note("handled")
                    over.complete(with: ())
                }
                try await child
            }
            try await service.start()
            try await service.stop(graceful: true, until: nil)
            #expect(journal.all == ["handled"])
        }
    }

    @Test("A CancellationError is no error of a graceful stop", arguments: bothBackends)
    func cancelsItself(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let service = service(backend) {
                try await cancelWhenGracefulShutdown { try await Task.sleep(for: .seconds(3600)) }
            }
            try await service.start()
            try await service.stop(graceful: true, until: nil)
            try await service.wait()
        }
    }

    @Test("An error while it stops is told by the stop, and fails nothing else", arguments: bothBackends)
    func failsWhileStopping(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let failing = service(backend) {
                try await gracefulShutdown()
                throw TestFailure()
            }
            let program = try LaunchedProgram(backend, service("b", backend), failing)
            let running = try await program.start()
            program.launcher.stop()
            #expect(await running.value == .success)
            #expect(journal.all == ["b.run", "b.shutdown"])
            try await failing.start()
            await #expect(throws: TestFailure()) { try await failing.stop(graceful: true, until: nil) }
        }
    }

    // MARK: Forced ends

    @Test("At the deadline it is cancelled", arguments: bothBackends)
    func deadline(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let service = stubborn(backend)
            try await service.start()
            try await journal.wait(for: "run")
            await #expect(throws: TimeLimitExceeded.self) { try await service.stop(graceful: true, until: .now) }
            try await service.threadGroup.wait()
            #expect(journal.all == ["run", "cancelled"])
        }
    }

    @Test("Its own limit of a graceful shutdown cancels it too", arguments: bothBackends)
    func ownLimit(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let program = try LaunchedProgram(backend, stubborn(backend, limit: .milliseconds(10)))
            let running = try await program.start()
            try await journal.wait(for: "run")
            program.launcher.stop()
            #expect(await running.value == .success)
            #expect(journal.all == ["run", "cancelled"])
        }
    }

    /// Heeds cancellation only.
    private func stubborn(_ backend: Backend, limit: Duration? = nil) -> LifecycleService {
        service(backend, limit: limit) { [journal] in
            journal.note("run")
            do {
                try await Task.sleep(for: .seconds(3600))
            } catch {
                journal.note("cancelled")
                throw error
            }
        }
    }

    @Test("A stop that is not graceful cancels it at once", arguments: bothBackends)
    func forcedStop(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let service = service("a", backend)
            try await service.start()
            try await journal.wait(for: "a.run")
            try await service.stop(graceful: false, until: nil)
            #expect(journal.all == ["a.run", "a.cancelled"])
        }
    }

    // MARK: Starting

    @Test("A service that reports its start has started then", arguments: bothBackends)
    func reportedStart(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let gate = Completion<Void>()
            let slow = LifecycleService(name: "slow", backend: backend, logger: silentLogger) { [journal] started in
                ProbeService {
                    journal.note("run")
                    try await gate.wait()
                    started.report()
                    try await gracefulShutdown()
                }
            }
            let program = try LaunchedProgram(backend, slow, service("b", backend))
            let running = Task { await program.launcher.run() }
            try await journal.wait(for: "run")
            #expect(await program.obstacles() == ["services are starting"])
            gate.complete(with: ())
            try await program.ready.wait()
            #expect(await program.obstacles() == [])
            try await journal.wait(for: "b.run")
            program.launcher.stop()
            #expect(await running.value == .success)
        }
    }

    @Test("An error before it has reported its start is a failed start", arguments: bothBackends)
    func failsBeforeStart(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let failing = LifecycleService(name: "a", backend: backend, logger: silentLogger) { _ in
                ProbeService { throw TestFailure() }
            }
            await #expect(throws: TestFailure()) { try await failing.start() }
            let program = try LaunchedProgram(backend, service("b", backend), failing)
            #expect(await program.launcher.run() == .failure)
            guard case .startFailed("a", is TestFailure) = program.launcher.failure as? ServicesError else {
                Issue.record("\(String(describing: program.launcher.failure))")
                return
            }
            #expect(program.ready.value == nil)
            #expect(journal.all == ["b.run", "b.cancelled"])
        }
    }

    @Test("A return before it has reported its start is a failed start", arguments: bothBackends)
    func returnsBeforeStart(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let returning = LifecycleService(name: "a", backend: backend, logger: silentLogger) { _ in
                ProbeService {}
            }
            await #expect {
                try await returning.start()
            } throws: { error in
                guard case .endedBeforeStart("a") = error as? LifecycleServiceError else { return false }
                return true
            }
        }
    }

    @Test("An error of making it is a failed start", arguments: bothBackends)
    func failsToBeMade(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let failing = LifecycleService(name: "a", backend: backend, logger: silentLogger) {
                () async throws -> any ServiceLifecycle.Service in throw TestFailure()
            }
            await #expect(throws: TestFailure()) { try await failing.start() }
            #expect(failing.threadGroup.threads.isEmpty)
        }
    }

    @Test("A restart makes it anew", arguments: bothBackends)
    func restart(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let launcher = try Launcher(backend: backend)
            try await launcher.launchService(service("a", backend))
            try await launcher.start()
            try await journal.wait(for: "a.run")
            try await launcher.restart()
            await launcher.stop()
            // The second run is shut down as soon as it has been entered.
            #expect(journal.all == ["a.run", "a.shutdown", "a.run", "a.shutdown"])
        }
    }

    // MARK: Ends by itself

    @Test("An error after the start stops the others and ends the launcher with status 1", arguments: bothBackends)
    func failsAfterStart(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let gate = Completion<Void>()
            let failing = service(backend) {
                try await gate.wait()
                throw TestFailure()
            }
            let program = try LaunchedProgram(backend, failing, service("b", backend))
            let running = try await program.start()
            try await journal.wait(for: "b.run")
            gate.complete(with: ())
            #expect(await running.value == .failure)
            #expect(journal.all == ["b.run", "b.shutdown"])
            guard case .failed("a", is TestFailure) = program.launcher.failure as? ServicesError else {
                Issue.record("\(String(describing: program.launcher.failure))")
                return
            }
            await #expect(throws: TestFailure()) { try await failing.wait() }
        }
    }

    @Test(
        "A return without being told to stops the others and ends the launcher with status 0",
        arguments: bothBackends)
    func returnsAfterStart(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let gate = Completion<Void>()
            let returning = service(backend) { try await gate.wait() }
            let program = try LaunchedProgram(backend, returning, service("b", backend))
            let running = try await program.start()
            try await journal.wait(for: "b.run")
            gate.complete(with: ())
            #expect(await running.value == .success)
            #expect(journal.all == ["b.run", "b.shutdown"])
            #expect(program.launcher.failure == nil)
        }
    }

    // MARK: Placement

    @Test("It runs where it was asked to, its child tasks too", arguments: bothBackends)
    func placement(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            for (placement, isOnLoop) in [(LifecyclePlacement.backend, true), (.globalPool, false)] {
                let places = Completion<[Bool]>()
                let service = service(backend, placement: placement) {
                    async let child = EventLoop.current != nil
                    places.complete(with: [EventLoop.current != nil, await child])
                    try await gracefulShutdown()
                }
                try await service.start()
                #expect(try await places.wait() == [isOnLoop, isOnLoop])
                try await service.stop(graceful: true, until: nil)
            }
        }
    }
}
#endif
