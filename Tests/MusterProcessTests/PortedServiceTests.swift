// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Small programs, as users write them", .timeLimit(.minutes(5)))
struct PortedServiceTests {
    /// What the same build has made.
    private static func binary(_ name: String) -> String {
        URL(fileURLWithPath: ProcessInfo.processInfo.arguments[0]).deletingLastPathComponent()
            .appendingPathComponent(name).path
    }

    /// Waits until each of a number of processes has said something a number of times, and returns the lines' details.
    private func said(
        _ what: String, _ count: Int = 1, in program: Program, by processes: Int, containing detail: String = ""
    ) async throws -> [Int32: [String]] {
        try await program.wait(for: "'\(what)' of \(processes) processes") { transcript in
            var lines: [Int32: [String]] = [:]
            for line in transcript.lines where line.hasPrefix("\(what) ") && (detail.isEmpty || line.contains(detail)) {
                let words = line.split(separator: " ")
                guard let pid = Int32(words[1]) else { continue }
                lines[pid, default: []].append(words.dropFirst(2).joined(separator: " "))
            }
            return lines.count { $0.value.count >= count } >= processes ? lines : nil
        }
    }

    @Test("one that calls launch is a client of its own console, and does not start then")
    func client() async throws {
        let program = try Program(
            Self.binary("muster-ported-service"), ["ctl", "--muster-console=/nowhere/console", "workers"])
        #expect(try await program.status() == 2)
        #expect(program.errors.contains("muster-ported-service ctl: no console at /nowhere/console"))
    }

    @Test(
        "the one that was ported by the migration page delivers, polls, takes up its settings in place, and ends, in three workers and in one process",
        arguments: backends, [3, 1])
    func life(backend: String, workers: Int) async throws {
        await Places.shared.enter()
        defer { Places.shared.leave() }
        let folder = try TemporaryFolder()
        let signature = try folder.write("Regards", to: "signature")
        let program = try Program(
            Self.binary("muster-ported-service"), ["--muster-endpoint-address=127.0.0.1:0"],
            environment: [
                "MAILER_BACKEND": backend, "MAILER_WORKERS": "\(workers)", "MAILER_SIGNATURE": signature,
            ])
        defer { program.end() }
        #expect(try await said("imported", in: program, by: workers).values.allSatisfy { $0 == ["2"] })
        let first = try await said("delivered", 3, in: program, by: workers)
        #expect(first.values.allSatisfy { $0[0] == "Regards 1" && $0[1] == "Regards 2" })
        #expect(first.keys.count == workers && first.keys.contains(program.pid) == (workers == 1))
        #expect(Set(try await said("polled", 2, in: program, by: workers).keys) == Set(first.keys))
        // The same processes go on with what has changed, and with what they had counted.
        _ = try folder.write("Yours", to: "signature")
        kill(program.pid, SIGHUP)
        #expect(Set(try await said("reset", in: program, by: workers).keys) == Set(first.keys))
        let second = try await said("delivered", 2, in: program, by: workers, containing: " Yours ")
        #expect(Set(second.keys) == Set(first.keys))
        #expect(try await said("imported", in: program, by: workers).values.allSatisfy { $0.count == 1 })
        kill(program.pid, SIGTERM)
        #expect(try await program.status() == 0)
        #expect(try await said("stopped", in: program, by: workers).keys.count == workers)
    }

    @Test("one with an asynchronous main runs, takes a SIGHUP in place, and ends", arguments: backends, [2, 1])
    func asynchronousMain(backend: String, workers: Int) async throws {
        await Places.shared.enter()
        defer { Places.shared.leave() }
        let program = try Program(
            Self.binary("muster-asynchronous-program"), ["--muster-endpoint-address=127.0.0.1:0"],
            environment: ["PROGRAM_BACKEND": backend, "PROGRAM_WORKERS": "\(workers)"])
        defer { program.end() }
        let first = try await said("runs", 3, in: program, by: workers)
        #expect(Set(try await said("main", in: program, by: workers).keys) == Set(first.keys))
        kill(program.pid, SIGHUP)
        #expect(Set(try await said("reset", in: program, by: workers).keys) == Set(first.keys))
        kill(program.pid, SIGTERM)
        #expect(try await program.status() == 0)
        #expect(Set(try await said("stopped", in: program, by: workers).keys) == Set(first.keys))
    }
}
