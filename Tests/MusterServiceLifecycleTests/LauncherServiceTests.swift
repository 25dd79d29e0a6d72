// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import Muster
import MusterExecution
import MusterServiceLifecycle
import MusterTestKit
import ServiceLifecycle
import ServiceLifecycleTestKit
import Testing

@Suite("A launcher in a service group", .timeLimit(.minutes(2)))
struct LauncherServiceTests {
    private let journal = Journal()

    private func launched(_ name: String, _ backend: Backend) -> LifecycleService {
        let journal = journal
        return LifecycleService(name: name, backend: backend, logger: silentLogger) { ProbeService(name, journal) }
    }

    private func group(_ services: any ServiceLifecycle.Service...) -> ServiceGroup {
        ServiceGroup(services: services, logger: silentLogger)
    }

    @Test("A graceful shutdown reaches what it runs, in its turn and in its order", arguments: bothBackends)
    func gracefulShutdown(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let program = try LaunchedProgram(backend, launched("a", backend), launched("b", backend))
            let group = group(
                ProbeService("first", journal), LauncherService(program.launcher), ProbeService("last", journal))
            let running = Task { try await group.run() }
            for entry in ["first.run", "last.run", "a.run", "b.run"] { try await journal.wait(for: entry) }
            try await program.ready.wait()
            await group.triggerGracefulShutdown()
            try await running.value
            #expect(journal.all.suffix(4) == ["last.shutdown", "b.shutdown", "a.shutdown", "first.shutdown"])
        }
    }

    @Test("A shutdown that has been asked for before it begins ends it", arguments: bothBackends)
    func earlyShutdown(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let program = try LaunchedProgram(backend, launched("a", backend))
            try await testGracefulShutdown { trigger in
                trigger.triggerGracefulShutdown()
                try await LauncherService(program.launcher).run()
            }
            #expect(!journal.all.contains("a.cancelled"))
        }
    }

    @Test("Cancelling the group ends it gracefully", arguments: bothBackends)
    func cancellation(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let program = try LaunchedProgram(backend, launched("a", backend))
            let service = LauncherService(program.launcher)
            let running = Task { try await service.run() }
            try await program.ready.wait()
            try await journal.wait(for: "a.run")
            running.cancel()
            try await running.value
            #expect(journal.all == ["a.run", "a.shutdown"])
        }
    }

    @Test("Its end shuts the group down gracefully", arguments: bothBackends)
    func end(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let program = try LaunchedProgram(backend, launched("a", backend))
            let group = ServiceGroup(
                configuration: .init(
                    services: [.init(service: ProbeService("first", journal)), .launcher(program.launcher)],
                    logger: silentLogger))
            let running = Task { try await group.run() }
            try await program.ready.wait()
            for entry in ["first.run", "a.run"] { try await journal.wait(for: entry) }
            program.launcher.stop()
            try await running.value
            #expect(journal.all.suffix(2) == ["a.shutdown", "first.shutdown"])
        }
    }

    @Test("It ends the group with an error when its status is not success", arguments: bothBackends)
    func failure(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let program = try LaunchedProgram(backend, launched("a", backend))
            let group = group(ProbeService("first", journal), LauncherService(program.launcher))
            let running = Task { try await group.run() }
            try await program.ready.wait()
            try await journal.wait(for: "first.run")
            program.launcher.stop(Muster.ExitStatus(rawValue: 7))
            await #expect {
                try await running.value
            } throws: { error in
                guard case .launcherFailed(status: 7) = error as? LifecycleServiceError else { return false }
                return true
            }
            #expect(journal.all.last == "first.cancelled")
        }
    }
}
#endif
