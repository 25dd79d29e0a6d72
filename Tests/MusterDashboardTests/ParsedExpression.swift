// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport

/// What a PromQL expression selects, or why it is none.
struct ParsedExpression: Decodable, Sendable {
    struct Matcher: Decodable, Equatable, Sendable {
        let label: String
        let `operator`: String
        let value: String
    }

    struct Selector: Decodable, Sendable {
        let name: String
        let matchers: [Matcher]
        /// The functions around it, the outermost first.
        let functions: [String]
        /// The length of a range; `nil` for an instant.
        let seconds: Double?
    }

    let error: String?
    let selectors: [Selector]?

    /// Grafana's intervals are no PromQL. In their places there are lengths that nobody would write.
    static let intervals = ["$__rate_interval": 4242.0, "$__range": 4343.0, "$__interval": 4141.0]

    /// Parses expressions, with one start of Python for all of them.
    static func parse(_ expressions: some Sequence<String>) async throws -> [String: ParsedExpression] {
        let expressions = Array(Set(expressions))
        let filled = expressions.map { expression in
            intervals.sorted { $0.key > $1.key }.reduce(expression) {
                $0.replacingOccurrences(of: $1.key, with: "\(Int($1.value))s")
            }
        }
        let folder = try TemporaryFolder()
        let input = try folder.write(
            String(decoding: JSONEncoder().encode(filled), as: UTF8.self), to: "expressions.json")
        let script = Repository.url("Tests/MusterDashboardTests/promql.py").path
        let program = try Program(
            PythonTool.interpreter, [script], input: FileHandle(forReadingFrom: URL(fileURLWithPath: input)))
        guard try await program.status() == 0 else { throw Program.Ended(description: program.errors) }
        let parsed = try JSONDecoder().decode([ParsedExpression].self, from: Data(program.output.utf8))
        return Dictionary(uniqueKeysWithValues: zip(expressions, parsed))
    }
}
