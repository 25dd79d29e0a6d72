// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

/// The parts of `scripts/peers` that measure nothing: `make bench-peers` itself is run by people.
@Suite("The benchmark of peers", .enabled(if: find("python3") != nil), .timeLimit(.minutes(5)))
struct PeersTests {
    private static let folder = Repository.root.appendingPathComponent("scripts/peers").path

    private func bench(_ arguments: String...) async throws -> (status: Int32, output: String, errors: String) {
        let program = try Program("/usr/bin/env", ["python3", "\(Self.folder)/bench"] + arguments)
        return (try await program.status(within: 60), program.output, program.errors)
    }

    @Test("lists what it measures, as far as it is asked for")
    func list() async throws {
        let result = try await bench("--list", "--filter", "^hang/(gunicorn|muster)", "--filter", "^jobs/c$")
        #expect(
            result.output == """
                jobs/c
                hang/muster-cooperative
                hang/muster-threading
                hang/gunicorn

                """, "\(result.errors)")
    }

    @Test("says what is wrong with its arguments")
    func badArguments() async throws {
        let pattern = try await bench("--filter", "(")
        #expect(pattern.status == 2 && pattern.errors.contains("--filter: missing )"))
        let nothing = try await bench("--filter", "^nothing$")
        #expect(nothing.status == 2 && nothing.errors.contains("see --list"))
        let file = try await bench("--table", "/nonexistent")
        #expect(file.status == 1 && file.errors.contains("--table: [Errno 2]"))
    }

    @Test("joins outputs to one table, with medians, ranges, the best, and what there is not")
    func table() async throws {
        let outputs = try TemporaryFolder()
        defer { withExtendedLifetime(outputs) {} }
        let first = try outputs.write(
            """
            {"measure": "supervision", "peer": "muster-cooperative", "figures": {"restart": [5, 7]}, "others": 12}
            {"measure": "supervision", "peer": "gunicorn", "figures": {"restart": [9.5]}, "others": 14}
            {"measure": "supervision", "peer": "oslo-eventlet", "figures": "missing"}
            {"measure": "hang", "peer": "oslo-threading", "figures": {"noticed": "not in 45 s"}, "others": 100}
            {"minutes": 2}
            """, to: "first")
        let second = try outputs.write(
            """
            {"measure": "supervision", "peer": "muster-cooperative", "figures": {"restart": [1200]}, "others": 12}
            {"measure": "supervision", "peer": "c", "figures": {"restart": [0.5]}, "others": 12}
            {"minutes": 3}
            """, to: "second")
        let result = try await bench("--table", first, second)
        let rows = result.output.split(separator: "\n").map { line in
            line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
        }
        let restart = [
            "SIGKILL of a worker to its replacement's first line", "ms", "**7** (5 to 1,200)", "", "missing", "",
            "gunicorn 9.50", "none", "none", "0.50", "12 %",
        ]
        #expect(rows.contains(restart), "\(result.output)\(result.errors)")
        #expect(rows.contains { $0.first == "a worker's work hangs: replaced after" && $0[5] == "not in 45 s" })
        #expect(result.output.contains("over all 12 %, 100 % at most. It took 5.0 minutes."))
    }

    @Test("tells lateness against the grid of the most punctual call, and drift")
    func lateness() async throws {
        // Two loops of 1 ms for a second: one whose first call alone is late, and one that loses 50 µs each time.
        let program = try Program(
            "/usr/bin/env",
            [
                "python3", "-B", "-c",
                """
                import sys
                sys.path.insert(0, sys.argv[1])
                from measures import lateness
                on_time = [(0, n * 1_000_000 + (300_000 if n == 0 else 0)) for n in range(1001)]
                print(lateness(on_time, 1_000_000))
                print(lateness([(1, n * 1_050_000) for n in range(1001)], 1_000_000))
                print(lateness([(1, n * 10_000) for n in range(1001)], 1_000_000)["drift"])
                """, Self.folder,
            ])
        #expect(try await program.status(within: 60) == 0, "\(program.errors)")
        let lines = program.output.split(separator: "\n")
        try #require(lines.count == 3)
        #expect(lines[0].hasPrefix("{'lateness': [0.0], 'tail': [0.0], 'drift': [0.0], 'calls': [100.0"))
        #expect(lines[1].hasPrefix("{'lateness': [25.0], 'tail': [49.5], 'drift': [47.19"))
        #expect(lines[2] == "runs too often")
    }
}
