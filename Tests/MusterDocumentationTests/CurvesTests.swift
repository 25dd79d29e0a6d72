// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

/// The parts of `scripts/curves` that measure nothing: `make bench-curves` itself is run by people.
@Suite("The curves of how cost grows", .enabled(if: find("python3") != nil), .timeLimit(.minutes(5)))
struct CurvesTests {
    private static let script = Repository.root.appendingPathComponent("scripts/curves").path

    private func curves(_ arguments: String...) async throws -> (status: Int32, output: String, errors: String) {
        let program = try Program("/usr/bin/env", ["python3", Self.script] + arguments)
        return (try await program.status(within: 60), program.output, program.errors)
    }

    @Test("list what they measure, as far as it is asked for")
    func list() async throws {
        let result = try await curves("--list", "--filter", "^loops", "--filter", "^limits/(series|jobs)")
        #expect(
            result.output == """
                loops/cooperative
                loops/threading
                limits/jobs
                limits/series

                """, "\(result.errors)")
    }

    @Test("say what is wrong with their arguments")
    func badArguments() async throws {
        let pattern = try await curves("--filter", "(")
        #expect(pattern.status == 2 && pattern.errors.contains("--filter: missing )"))
        let nothing = try await curves("--filter", "^nothing$")
        #expect(nothing.status == 2 && nothing.errors.contains("see --list"))
        let file = try await curves("--table", "/nonexistent")
        #expect(file.status == 1 && file.errors.contains("--table: [Errno 2]"))
        let page = try await curves("--page", "/dev/null")
        #expect(page.status == 2 && page.errors.contains("--page: /dev/null needs a line <!-- curves -->"))
    }

    @Test("tell how a figure grows at its end, and draw it")
    func table() async throws {
        let folder = try TemporaryFolder()
        defer { withExtendedLifetime(folder) {} }
        // The time grows in proportion, the memory with the square, and a worker more than 16 fails.
        let output = try folder.write(
            """
            {"curve": "workers", "line": "cooperative", "size": 1, "result": {"start": 3, "memory": 1}, "others": 10}
            {"curve": "workers", "line": "cooperative", "size": 1, "result": {"start": 1, "memory": 1}, "others": 10}
            {"curve": "workers", "line": "cooperative", "size": 4, "result": {"start": 8, "memory": 16}, "others": 30}
            {"curve": "workers", "line": "cooperative", "size": 16, "result": {"start": 32, "memory": 256}, "others": 10}
            {"curve": "workers", "line": "cooperative", "size": 64, "result": "failed: no | more", "others": 10}
            {"limit": "jobs", "result": "it is full", "others": 10}
            {"minutes": 2.5}
            """, to: "output")
        let page = try folder.write("Before.\n\n<!-- curves -->\nstale\n<!-- end of curves -->\n\nAfter.\n", to: "page")
        let result = try await curves("--table", output, "--plots", folder.path("plots"), "--page", page)
        let rows = result.output.split(separator: "\n").map { line in
            line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
        }
        let start = ["cold start, until all are ready", "ms", "2", "8", "32", "1.00", "2 ms", "2 ms"]
        #expect(rows.contains(start), "\(result.output)\(result.errors)")
        #expect(rows.contains(["memory of all, PSS", "MiB", "1", "16", "256", "2.00", "5,120 KiB", "20,480 KiB"]))
        #expect(rows.contains(["1,001 jobs, a thread group of the default capacity", "it is full"]))
        #expect(result.output.contains("| workers, cooperative, 64"))
        #expect(result.output.contains("failed: no \\| more"))
        #expect(result.output.contains("Others used 10 % of a processor, median, 30 % at most. It took 2.5 minutes."))
        let drawn = try String(contentsOfFile: folder.path("plots/curves-workers.svg"), encoding: .utf8)
        #expect(drawn.contains("cold start, until all are ready, ms") && drawn.contains("<polyline"))
        #expect(!FileManager.default.fileExists(atPath: folder.path("plots/curves.svg")))
        let written = try String(contentsOfFile: page, encoding: .utf8)
        #expect(written.hasPrefix("Before.\n\n<!-- curves -->\n\n| workers ") && !written.contains("stale"))
        #expect(written.hasSuffix("minutes.\n\n<!-- end of curves -->\n\nAfter.\n"))
    }
}
