// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Workers whose supervisor is killed", .transcript, .timeLimit(.minutes(10)))
struct OrphanTests {
    /// Far more than they need, and far less than they would stay for.
    private let soon = Duration.seconds(20)

    @Test("stop gracefully", arguments: backends)
    func graceful(backend: String) async throws {
        try await TestProgram.run(["--workers=3"], backend: backend) { program in
            try await program.ready()
            let workers = try await program.started(3)
            program.signal(SIGKILL)
            #expect(try await program.status() == 128 + SIGKILL)
            #expect(Set(try await program.said("stopped", 3).map(\.pid)) == Set(workers.map(\.pid)))
            try await program.gone(within: soon)
        }
    }

    @Test("do not stay although a job blocks", arguments: backends)
    func blocked(backend: String) async throws {
        try await TestProgram.run(["--workers=2"], backend: backend) { program in
            try await program.ready()
            let connection = try program.submit("block")
            try await program.said("blocking")
            program.signal(SIGKILL)
            try await program.gone(within: soon)
            withExtendedLifetime(connection) {}
        }
    }

    @Test("do not stay although their service refuses to stop", arguments: backends)
    func refusing(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--stop=hang"], backend: backend) { program in
            try await program.ready()
            program.signal(SIGKILL)
            try await program.said("stopping", 2)
            try await program.gone(within: soon)
            #expect(program.lines("stopped").isEmpty)
        }
    }

    @Test("do not stay although they were stopped by a signal", arguments: backends)
    func stopped(backend: String) async throws {
        try await TestProgram.run(["--workers=2"], backend: backend) { program in
            try await program.ready()
            kill(try await program.started(2)[0].pid, SIGSTOP)
            try await program.logged("worker suspended")
            program.signal(SIGKILL)
            try await program.gone(within: soon)
        }
    }

    @Test("do not stay although they had not started", arguments: ["hang", "block"])
    func starting(start: String) async throws {
        try await TestProgram.run(["--workers=2", "--spares=1", "--start=\(start)"]) { program in
            try await program.said("starting", 2)
            program.signal(SIGKILL)
            try await program.gone(within: soon)
        }
    }
}
