// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("The workers' backend", .transcript, .timeLimit(.minutes(10)))
struct BackendTests {
    @Test("what was chosen holds in every worker and in those that follow", arguments: backends, ["hook", "explicit"])
    func chosen(backend: String, how: String) async throws {
        let option = how == "hook" ? "--backend=\(backend)" : "--explicit-backend=\(backend)"
        try await TestProgram.run(["--workers=3", "--spares=1", option]) { program in
            try await program.ready()
            for worker in try await program.started(3) { kill(worker.pid, SIGKILL) }
            let lines = try await program.said("started", 6)
            #expect(lines.map(\.rest) == Array(repeating: backend, count: 6))
        }
    }

    @Test("one slot alone can try another backend")
    func canary() async throws {
        try await TestProgram.run(["--workers=3", "--backend=cooperative", "--canary-slot=1"]) { program in
            try await program.ready()
            for worker in try await program.started(3) { kill(worker.pid, SIGKILL) }
            let lines = try await program.said("started", 6)
            #expect(lines.allSatisfy { $0.rest == ($0.worker == "test/1" ? "threading" : "cooperative") })
            program.signal(SIGHUP)
            try await program.logged("reload completed")
            let rolled = try await program.said("started", 9).suffix(3)
            #expect(rolled.filter { $0.rest == "threading" }.map(\.worker) == ["test/1"])
        }
    }
}
