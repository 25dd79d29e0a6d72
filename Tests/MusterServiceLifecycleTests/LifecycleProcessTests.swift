// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import Glibc
import Testing

@Suite("Services of swift-service-lifecycle in worker processes", .timeLimit(.minutes(2)))
struct LifecycleProcessTests {
    @Test("SIGTERM shuts each down gracefully, and the status is 0")
    func terminate() async throws {
        let program = try LifecycleProgram("plain")
        let runs = try await program.wait(for: "api.run", 2)
        #expect(Set(runs.map(\.worker)) == ["api/0", "api/1"])
        #expect(!runs.map(\.pid).contains(program.pid))
        try await program.wait(for: "ready")
        kill(program.pid, SIGTERM)
        #expect(try await program.status() == 0)
        #expect(Set(program.said("api.shutdown").map(\.pid)) == Set(runs.map(\.pid)))
    }

    @Test("One whose run() throws or returns is started again in its slot", arguments: ["fail", "return"])
    func endsByItself(mode: String) async throws {
        let program = try LifecycleProgram(mode)
        let first = try #require(try await program.wait(for: "api.armed").first)
        try await program.wait(for: "ready")
        kill(first.pid, SIGUSR1)
        let second = try #require(try await program.wait(for: "api.armed", 2).last)
        #expect(second.worker == "api/0")
        #expect(second.pid != first.pid)
        kill(program.pid, SIGTERM)
        #expect(try await program.status() == 0)
        // The other worker has gone on meanwhile.
        #expect(program.said("api.run").count { $0.worker == "api/1" } == 1)
    }

    @Test("A launcher of processes in a service group: SIGTERM ends the workers, then the group")
    func group() async throws {
        let program = try LifecycleProgram("group")
        try await program.wait(for: "ready")
        #expect(try await program.wait(for: "other.run").map(\.pid) == [program.pid])
        kill(program.pid, SIGTERM)
        #expect(try await program.status() == 0)
        #expect(program.said("api.shutdown").count == 2)
        #expect(program.said("group.error").isEmpty)
        #expect(program.said("other.shutdown").map(\.pid) == [program.pid])
        #expect(program.said("group.over").map(\.pid) == [program.pid])
    }
}
#endif
