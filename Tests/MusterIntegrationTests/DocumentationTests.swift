// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("The documentation", .timeLimit(.minutes(1)))
struct DocumentationTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
    }

    @Test(
        "has a row for each exported metric, with its type, and no row for another",
        .enabled(if: Demo.isBuilt, "build the demo first: make demo"))
    func metrics() async throws {
        var documented: [String: String] = [:]
        for match in try Self.text("docs/metrics.md").matches(of: /\| `([a-z_]+)` \| (counter|gauge|histogram|info) \|/)
        {
            documented[String(match.1)] = String(match.2)
        }
        var exported: [String: String] = [:]
        let inOneProcess: [String] = []
        let supervised = ["--workers", "2", "--warm-spares", "1"]
        for (backend, options) in [
            ("cooperative", inOneProcess), ("threading", inOneProcess), ("cooperative", supervised),
            ("threading", supervised),
        ] {
            let demo = try await Demo(backend: backend, options: options)
            _ = try await demo.get("/livez")
            _ = try await demo.get("/readyz")
            for match in try await demo.get("/metrics").body.matches(of: /# TYPE ([a-z_]+) ([a-z]+)/)
            where !match.1.hasPrefix("demo_") {
                exported[String(match.1)] = match.1.hasSuffix("_info") ? "info" : String(match.2)
            }
        }
        #expect(documented == exported)
    }

    @Test("links to files that are there")
    func links() throws {
        let pages =
            try FileManager.default.contentsOfDirectory(atPath: Self.root.appendingPathComponent("docs").path)
            .filter { $0.hasSuffix(".md") }.map { "docs/\($0)" } + ["README.md"]
        #expect(pages.count > 5)
        for page in pages {
            let folder = Self.root.appendingPathComponent(page).deletingLastPathComponent()
            for match in try Self.text(page).matches(of: /\]\(([^)#]+)(#[^)]*)?\)/) where !match.1.contains("://") {
                let target = folder.appendingPathComponent(String(match.1)).path
                #expect(FileManager.default.fileExists(atPath: target), "\(page): \(match.1)")
            }
        }
    }

    @Test("lists the settings' keys that the code reads")
    func settings() throws {
        let page = try Self.text("docs/configuration.md")
        let code = try Self.text("Sources/Muster/Configuration/MusterSettings.swift")
        let keys = Set(code.matches(of: /"(muster\.[a-z.-]+)"/).map { String($0.1) })
        #expect(keys.count >= 5)
        for key in keys {
            #expect(page.contains("| `\(key)` |"))
            let environment = key.uppercased().replacing(/[.-]/, with: "_")
            #expect(page.contains("`\(environment)`"))
            #expect(page.contains("`--\(key.replacing(".", with: "-"))`"))
        }
    }
}
