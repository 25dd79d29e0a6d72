// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "A supervisor that is process 1", .transcript, .timeLimit(.minutes(10)),
    .enabled(if: Namespace.isPermitted, "needs the right to make a process namespace"))
struct FirstProcessTests {
    /// The supervisor's number outside.
    private func supervisor(of program: TestProgram) throws -> Int32 {
        let children = try String(contentsOfFile: "/proc/\(program.pid)/task/\(program.pid)/children", encoding: .utf8)
        return try #require(children.split(separator: " ").first.flatMap { Int32($0) })
    }

    @Test("it reaps orphans, and judges nobody by their status", arguments: backends)
    func orphans(backend: String) async throws {
        try await TestProgram.run(["--workers=2"], backend: backend, wrapper: Namespace.wrapper) { program in
            try await program.ready()
            #expect(try await program.command("shell cat /proc/1/cmdline").contains("muster-test-program"))
            for number in 1...3 {
                try await program.command("shell (sleep 0.2; exit 7) > /dev/null 2>&1 &")
                try await program.metric("muster_orphans_reaped_total", is: Double(number))
            }
            try await program.metric("muster_worker_restarts_total", is: 0)
            #expect(program.lines("started").count == 2)
            // What its own children end by is still known.
            try await program.command("exit 42")
            try await program.logged("worker exited", "code=42")
            try await program.said("started", 3)
            try await program.metric("muster_orphans_reaped_total", is: 3)
            #expect(try await program.command("shell ps -e -o stat= | grep -c Z || true") == "0")
            kill(try supervisor(of: program), SIGTERM)
            #expect(try await program.status() == 0)
        }
    }
}
