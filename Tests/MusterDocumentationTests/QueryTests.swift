// SPDX-License-Identifier: Apache-2.0

import MusterTestSupport
import Testing

@Suite("Queries", .timeLimit(.minutes(5)))
struct QueryTests {
    @Test("of all pages are what Prometheus understands", .enabled(if: find("promtool") != nil, "install prometheus"))
    func queries() async throws {
        var rules = "groups:\n  - name: pages\n    rules:\n"
        var count = 0
        for page in Repository.pages {
            for block in try Repository.page(page).blocks where block.language == "promql" {
                for query in queries(in: block.text) {
                    count += 1
                    // What is wrong is told with the name of the rule.
                    let name = "line\(block.line):\(page.filter { $0.isLetter || $0.isNumber }):query\(count)"
                    rules += "      - record: \(name)\n        expr: '\(query)'\n"
                }
            }
        }
        #expect(count > 3)
        let folder = try TemporaryFolder()
        let file = try folder.write(rules, to: "rules.yml")
        let promtool = try Program("/usr/bin/env", ["promtool", "check", "rules", file])
        let status = try await promtool.status()
        #expect(status == 0, "\(promtool.output)\(promtool.errors)")
    }

    /// One query a line, or several lines that an indentation holds together; without comments.
    private func queries(in block: String) -> [String] {
        var queries: [String] = []
        for line in block.split(separator: "\n") where !line.hasPrefix("#") {
            if line.hasPrefix(" "), !queries.isEmpty {
                queries[queries.count - 1] += line
            } else {
                queries.append(String(line))
            }
        }
        return queries
    }
}
