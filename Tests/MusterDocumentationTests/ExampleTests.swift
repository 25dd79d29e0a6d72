// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

/// Type-checks the examples of all pages against the modules that the tests are built with. The path of "Getting
/// started" is built and run by a test of its own.
@Suite("Examples", .timeLimit(.minutes(5)))
struct ExampleTests {
    /// Where the tests' own modules are.
    private static let modules =
        URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appendingPathComponent("Modules")

    private static var canCompile: Bool {
        find("swiftc") != nil
            && FileManager.default.fileExists(
                atPath: modules.appendingPathComponent("MusterServiceLifecycle.swiftmodule").path)
    }

    /// Whether a block is a piece of a program, and not of a manifest, a test, or something with parts left out.
    private func isComplete(_ code: String) -> Bool {
        let shown = code.split(separator: "\n").filter { !$0.contains("//") }.joined(separator: "\n")
        return ![
            "…", "PackageDescription", ".package(", ".testTarget(", "import Hummingbird", "import MusterNIO", "@Test",
            "static func main() throws",
        ]
        .contains { shown.contains($0) } || shown.contains("@main")
    }

    /// The example as a function, so that it may be without a program around it.
    private func source(_ block: MarkdownPage.CodeBlock, in page: String, number: Int) -> String {
        let lines = block.text.split(separator: "\n", omittingEmptySubsequences: false)
        let body = lines.map { $0.hasPrefix("import ") || $0 == "@main" ? "" : $0 }.joined(separator: "\n")
        let effects = body.contains(".exit()") ? "throws" : "async throws"
        return """
            \(ExamplePrelude.imports)
            func example\(number)(
                health: HealthRegistry, launcher: ProcessLauncher, engine: any ExecutionEngine
            ) \(effects) {
            #sourceLocation(file: "\(page)", line: \(block.line + 1))
            \(body)
            #sourceLocation()
            }
            """
    }

    @Test("of all pages compile", .enabled(if: canCompile, "build with the trait ServiceLifecycle"))
    func compile() async throws {
        let folder = try TemporaryFolder()
        var files = [try folder.write("\(ExamplePrelude.imports)\n\(ExamplePrelude.declarations)", to: "prelude.swift")]
        for page in Repository.pages {
            for block in try Repository.page(page).blocks
            where block.language == "swift" && isComplete(block.text) && page != "docs/testing.md" {
                // Those of that page are for tests, and are tests: GuideExamplesTests.
                let number = files.count
                files.append(
                    try folder.write(source(block, in: page, number: number), to: "example\(number).swift"))
            }
        }
        #expect(files.count > 20)
        let compiler = try compiler(of: files, options: ["-suppress-warnings"])
        let status = try await compiler.status(within: 240)
        #expect(status == 0, "\(compiler.errors)")
    }

    private static let hasServers =
        canCompile
        && FileManager.default.fileExists(atPath: modules.appendingPathComponent("Hummingbird.swiftmodule").path)

    @Test("with Hummingbird or SwiftNIO are whole files", .enabled(if: hasServers, "build with the trait Hummingbird"))
    func servers() async throws {
        let folder = try TemporaryFolder()
        var count = 0
        for page in Repository.pages {
            for block in try Repository.page(page).blocks
            where block.language == "swift" && block.text.contains(/import Muster(Hummingbird|NIO)\n/) {
                count += 1
                let source = "#sourceLocation(file: \"\(page)\", line: \(block.line + 1))\n\(block.text)\n"
                let compiler = try compiler(of: [try folder.write(source, to: "main.swift")], options: [])
                let status = try await compiler.status(within: 240)
                #expect(status == 0, "\(compiler.errors)")
            }
        }
        #expect(count >= 2)
    }

    /// Methods of services, and whether the compiler is to say that nothing calls them.
    private static let methods: [(text: String, isHinted: Bool)] = [
        ("func stop(graceful: Bool) async throws {}", true),
        ("func stop(graceful: Bool = false) {}", true),
        ("func stop() async throws {}", true),
        ("func stop() {}", true),
        ("func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {}", false),
        ("func wait() async throws {}", false),
    ]

    @Test(
        "A service that stops in a way that nothing would call gets a warning, and others get none",
        .enabled(if: canCompile, "build with the trait ServiceLifecycle"),
        arguments: ["struct", "final class", "actor"])
    func hints(kind: String) async throws {
        let folder = try TemporaryFolder()
        for (number, method) in Self.methods.enumerated() {
            let source = """
                import Muster
                \(kind) Service: ServiceBase {
                    func start() async throws {}
                    \(method.text)
                }
                func use(_ service: Service, _ other: any ServiceBase) async throws {
                    try await other.start()
                    try await service.stop(graceful: true, until: nil)
                }
                """
            let compiler = try compiler(of: [try folder.write(source, to: "service\(number).swift")], options: [])
            let status = try await compiler.status(within: 240)
            #expect(status == 0, "\(compiler.errors)")
            let hint = "never called: implement 'stop(graceful:until:)'"
            #expect(compiler.errors.contains(hint) == method.isHinted, "\(method.text): \(compiler.errors)")
        }
    }

    /// Type-checks files.
    private func compiler(of files: [String], options: [String]) throws -> Program {
        let products = Self.modules.deletingLastPathComponent().path
        return try Program(
            "/usr/bin/env",
            [
                "bash", "-c",
                """
                maps=$(find "$0" "$1/Sources" "$1"/.build/checkouts/*/Sources -name module.modulemap | grep -v -e '-tool.build' | \
                    awk -F/ '{ key = $(NF-1) == "include" ? $(NF-2) : $(NF-1) } !seen[key]++' | \
                    sed 's/^/-Xcc -fmodule-map-file=/')
                exec swiftc -typecheck -swift-version 6 -module-name Examples -I "$0/Modules" \
                    $maps "${@:2}"
                """, products, Repository.root.path,
            ] + options + files)
    }
}
