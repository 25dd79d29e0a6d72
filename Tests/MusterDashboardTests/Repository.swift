// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport

/// The files that these tests are about.
enum Repository {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    static let dashboards = ["muster-overview", "muster-looping-calls", "muster-backend-comparison"]
    static let hasJsonnet = find("jsonnet") != nil

    static func url(_ path: String) -> URL { root.appendingPathComponent(path) }

    static func text(_ path: String) throws -> String { try String(contentsOf: url(path), encoding: .utf8) }

    static func dashboard(_ name: String) throws -> Dashboard {
        try JSONDecoder().decode(Dashboard.self, from: Data(contentsOf: url("dashboards/\(name).json")))
    }

    /// The names in the catalogue of metrics.
    static func metrics() throws -> Set<String> {
        Set(try text("docs/metrics.md").matches(of: /(?m)^\| `([a-z_]+)` \|/).map { String($0.1) })
    }

    /// Evaluates jsonnet; `import` and `importstr` know the repository's files.
    static func evaluate<Value: Decodable>(_ snippet: String, as type: Value.Type) async throws -> Value {
        let program = try Program(
            find("jsonnet") ?? "jsonnet", ["--jpath", root.path, "--jpath", url("dashboards").path, "-e", snippet])
        guard try await program.status() == 0 else { throw Program.Ended(description: program.errors) }
        return try JSONDecoder().decode(type, from: Data(program.output.utf8))
    }
}
