// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Recycling", .transcript, .timeLimit(.minutes(10)))
struct RecycleTests {
    private static let soon = "--muster-recycle-minimum-age=200ms"

    /// Expects that the worker is replaced by one that is ready before it stops.
    private func expectRecycled(_ program: TestProgram, _ old: TestProgram.Line, cause: String) async throws {
        try await program.logged("recycling worker", "worker=\(old.worker)", "cause=\(cause)")
        #expect(try await program.said("stopping")[0].pid == old.pid)
        // Before that, so it had started by then.
        #expect(program.lines("started").last?.worker == old.worker)
        try await program.metric("muster_worker_restarts_total", ["reason": "recycled"], is: 1)
        try await program.metric("muster_worker_restarts_total", is: 1)
        try await program.logged("worker exited", "pid=\(old.pid)", "reason=recycled")
    }

    @Test("A worker that has grown is replaced, and no client notices", arguments: backends)
    func memory(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--muster-recycle-memory=64MiB", Self.soon], backend: backend) {
            program in
            try await program.ready()
            let client = Client(of: program)
            let served = try await program.command("fill 100").split(separator: " ")
            let old = try #require(program.lines("started").first { "\($0.pid)" == served[1] })
            try await expectRecycled(program, old, cause: "memory")
            #expect(try await client.end() > 0)
        }
    }

    @Test("A worker is replaced at its age, again and again")
    func age() async throws {
        try await TestProgram.run(["--workers=1", "--muster-recycle-age=250ms", Self.soon]) { program in
            try await program.logged("worker exited", "reason=recycled", count: 3)
            #expect(program.log("cause=age").count >= 3)
        }
    }

    @Test("A worker is replaced when its application asks for it, once", arguments: backends)
    func asked(backend: String) async throws {
        // Such that the successor is not old enough when it gets what was meant for its predecessor.
        let options = ["--workers=1", "--muster-recycle-minimum-age=3s"]
        try await TestProgram.run(options, backend: backend) { program in
            let old = try await program.started(1)[0]
            for _ in 0..<3 { try await program.command("recycle") }
            try await expectRecycled(program, old, cause: "requested")
            #expect(program.log("reason=told to").count == 1)
        }
    }
}
