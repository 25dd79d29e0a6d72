// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterExecution
import MusterLock
import MusterPlatform
import MusterTestKit
import Testing

extension ProcessWide {
    @Suite("A service that ends by itself", .timeLimit(.minutes(5)))
    struct EndingServiceTests {
        private let calls = Recorder<String>()

        /// Ends when it is told to by the test.
        private final class EndingService: ServiceBase {
            private let onEnd = Locked<(@Sendable (ServiceEnd) -> Void)?>(nil)

            func start() async throws {}

            func whenEnded(_ action: @escaping @Sendable (ServiceEnd) -> Void) {
                onEnd.withLock { $0 = action }
            }

            func end(_ end: ServiceEnd) {
                onEnd.withLock { $0 }?(end)
            }
        }

        @Test("having finished, ends the launcher gracefully with status 0", arguments: bothBackends)
        func finished(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let service = EndingService()
                try program.launcher.launchService(ProbeService("a", calls))
                try program.launcher.launchService(service)
                let running = try await program.start()
                service.end(.finished)
                service.end(.failed(TestFailure()))
                #expect(await running.value == .success)
                #expect(calls.all == ["a.start", "a.stopGracefully"])
            }
        }

        @Test("having failed, ends the launcher gracefully with status 1", arguments: bothBackends)
        func failed(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let service = EndingService()
                try program.launcher.launchService(ProbeService("a", calls))
                try program.launcher.launchService(service)
                let running = try await program.start()
                service.end(.failed(TestFailure()))
                #expect(await running.value == .failure)
                #expect(calls.all == ["a.start", "a.stopGracefully"])
                #expect("\(try #require(program.launcher.failure))" == "service 'EndingService' failed: deliberate")
            }
        }

        @Test("having failed while another starts, is a failed start", arguments: bothBackends)
        func failedDuringStart(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let gate = Completion<Void>()
                let service = EndingService()
                try program.launcher.launchService(service)
                try program.launcher.launchService(ProbeService("a", calls, onStart: { try await gate.wait() }))
                let running = Task { await program.launcher.run() }
                try await calls.first(1)
                service.end(.failed(TestFailure()))
                gate.complete(with: ())
                #expect(await running.value == .failure)
                #expect(calls.all == ["a.start", "a.stopGracefully"])
                #expect(program.ready.value == nil)
            }
        }

        @Test("does not include one whose thread fails", arguments: bothBackends)
        func threadFails(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let service = ThreadGroupService(name: "a", backend: backend) { group in
                    try await group.addThread(name: "failing") { throw TestFailure() }
                }
                try program.launcher.launchService(service)
                let running = try await program.start()
                try await service.threadGroup.wait()
                #expect(await program.failures(at: .ready).isEmpty)
                program.launcher.stop()
                #expect(await running.value == .success)
            }
        }

        @Test("An end asked for before the launcher begins starts nothing and leaves nothing", arguments: bothBackends)
        func stopBeforeRun(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                try program.launcher.launchService(ProbeService("a", calls))
                program.launcher.stop(ExitStatus(rawValue: 7))
                #expect(await program.launcher.run() == ExitStatus(rawValue: 7))
                #expect(calls.all.isEmpty)
                for signal in [UnixSignal.terminate, .interrupt, .hangUp] {
                    #expect(Disposition(of: signal) == .byDefault)
                }
            }
        }
    }
}
