// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("The console's look at threads", .transcript, .timeLimit(.minutes(10)))
struct ConsoleInspectionTests {
    private func lines(_ command: String, of program: TestProgram) async throws -> [String] {
        let path = program.folder.path("trigger.console")
        return try await onThread {
            let connection = try Connection(path: path)
            try connection.send("\(command)\nquit\n")
            return String(decoding: try connection.receiveAll(), as: UTF8.self)
        }.split(separator: "\n").map(String.init)
    }

    @Test(
        "shows where a worker hangs, by the supervisor's console, and the worker goes on",
        arguments: backends, [["--workers=1"], ["--in-process"]])
    func hung(backend: String, options: [String]) async throws {
        let options = options + ["--loop", "--muster-console=TRIGGER.console"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            let connection = try program.submit("deadlock")
            try await program.said("blocking")
            // It may not have come to the lock yet.
            let threads = try await eventually("the deadlock") {
                let lines = try await lines("threads test/0", of: program)
                return lines.contains { $0.contains("BlockingLock.lock") } ? lines : nil
            }
            #expect(threads.contains { $0.contains("deadlockOnPurpose") })
            #expect(threads.contains { $0.hasPrefix(" test/0  thread ") && $0.contains("  CPU ") })
            #expect(threads.suffix(2) == ["ok", "ok"])
            let profile = try await lines("profile 0.1", of: program)
            #expect(profile[profile.count - 2].contains(/^ok: test\/0: \d+ samples? in 100 ms at 99 Hz of CPU time/))
            #expect(try await lines("threads nobody", of: program)[0] == "failed: there is no worker or group 'nobody'")
            withExtendedLifetime(connection) {}
        }
    }
}
