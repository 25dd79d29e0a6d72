// SPDX-License-Identifier: Apache-2.0

import MusterCompare
import Testing

@Suite struct ConditionTests {
    private static let names = Set(Measure.all.map(\.quantity.name))

    private func row(_ name: String, _ ratio: Double, _ outcome: Row.Outcome, candidate: Double = 0.012) throws -> Row {
        let quantity = try #require(Measure.all.first { $0.quantity.name == name }?.quantity)
        var row = Row(quantity: quantity, outcome: outcome)
        row.baseline = candidate / ratio
        row.candidate = candidate
        row.ratio = Statistics.Interval(estimate: ratio, low: ratio * 0.95, high: ratio * 1.05)
        return row
    }

    private func outcome(_ text: String, _ rows: [Row]) throws -> Condition.Outcome {
        try Condition(parsing: text, names: Self.names).outcome(rows)
    }

    @Test(
        "Conditions hold as the grammar says",
        arguments: [
            ("loop_lateness_p99 > 1.2x", Condition.Outcome.holds), ("loop_lateness_p99>1.2x", .holds),
            ("loop_lateness_p99 > 1.6x", .fails), ("loop_lateness_p99 >= 1.5x", .holds),
            ("loop_lateness_p99 > 20%", .holds), ("loop_lateness_p99 > 60 %", .fails),
            ("loop_lateness_p99 > 10ms", .holds), ("loop_lateness_p99 > 13 ms", .fails),
            ("loop_lateness_p99 worse", .holds), ("any worse", .holds), ("any > 2x", .fails),
            ("requests worse", .fails), ("requests differs", .fails),
            ("cpu worse and loop_lateness_p99 worse", .undecided), ("cpu worse or loop_lateness_p99 worse", .holds),
            ("requests worse and cpu worse", .fails), ("memory_pss > 20MiB", .undecided),
            ("requests < 0.9x", .fails),
        ])
    func outcomes(text: String, expected: Condition.Outcome) throws {
        let rows = [
            try row("loop_lateness_p99", 1.5, .worse), try row("requests", 1.01, .alike, candidate: 100),
            try row("cpu", 1.3, .noVerdict),
        ]
        #expect(try outcome(text, rows) == expected)
    }

    @Test(
        "Faults name the character where they are",
        arguments: [
            ("", 0, "the condition is empty"),
            ("loop_latenes_p99 > 1.2x", 0, "is 'loop_lateness_p99' meant?"),
            ("zzzzzzzzzzzz > 1.2x", 0, "--list-quantities"),
            ("cpu", 3, "expected 'worse'"), ("cpu >", 5, "expected a limit"), ("cpu = 1", 4, "not '='"),
            ("cpu > x", 6, "expected a number"), ("cpu > 1.2y", 9, "there is no unit 'y'"),
            ("cpu > 0x", 6, "above 0"), ("threads > 5ms", 11, "does not fit threads"),
            ("loop_lateness_p99 > 5", 21, "durations, such as 5ms"), ("any > 5ms", 6, "no unit in common"),
            ("cpu worse cpu worse", 10, "expected 'and' or 'or'"), ("cpu worse and", 13, "expected the name"),
        ])
    func faults(text: String, position: Int, words: String) throws {
        let problem = try #require(throws: Condition.Problem.self) { try Condition(parsing: text, names: Self.names) }
        #expect(problem.position == position)
        #expect(problem.reason.contains(words), "\(problem)")
    }

    @Test("The message shows the place")
    func message() throws {
        let problem = try #require(throws: Condition.Problem.self) {
            try Condition(parsing: "cpu > 1.2y", names: Self.names)
        }
        #expect("\(problem)".hasSuffix("at character 10\n  cpu > 1.2y\n           ^"))
    }
}
