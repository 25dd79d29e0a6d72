// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

/// Follows the page as a reader would: writes its files, runs its commands in order in one shell, and compares what
/// they print. The service that the README shows is built with it, since this is the one test that builds a package.
@Suite("Getting started", .timeLimit(.minutes(15)))
struct GettingStartedTests {
    private static let tools = ["swift", "bash", "curl", "pgrep", "prometheus", "promtool"]

    @Test(
        "does what the page says, command by command",
        .enabled(if: tools.allSatisfy { find($0) != nil }, "install curl, procps and prometheus"))
    func page() async throws {
        let folder = try TemporaryFolder()
        try FileManager.default.createSymbolicLink(
            atPath: folder.path("muster"), withDestinationPath: Repository.root.path)
        // The ports that the page names may be taken.
        let ports = ["9917": "\(try freePort())", "9090": "\(try freePort())"]
        let shell = try PageShell(
            in: folder.url.path,
            environment: ["MUSTER_ENDPOINT_ADDRESS": "127.0.0.1:\(ports["9917", default: ""])", "LC_ALL": "C"])
        do {
            try await follow(try Repository.page("docs/getting-started.md"), in: shell, ports: ports)
        } catch {
            await shell.end()
            throw error
        }
        await shell.end()
    }

    private func follow(_ page: MarkdownPage, in shell: PageShell, ports: [String: String]) async throws {
        var commands: String?
        var comparisons = 0
        for block in page.blocks {
            let text = block.text.replacing(/127\.0\.0\.1:([0-9]+)/) { "127.0.0.1:\(ports[String($0.1)] ?? "")" }
            if let file = block.file {
                if let commands { try await run(commands, in: shell) }
                commands = nil
                try shell.write(file == "Package.swift" ? text + Self.secondTarget : text, to: file)
                if file == "Package.swift" { try prepare(shell) }
            } else if block.language == "sh" {
                if let commands { try await run(commands, in: shell) }
                commands = text
            } else if block.language == "text", let shown = commands {
                commands = nil
                comparisons += 1
                try await compare(shown, with: text, line: block.line, in: shell)
            }
        }
        if let commands { try await run(commands, in: shell) }
        #expect(comparisons > 5)
    }

    /// Adds the README's service as a second target, and the versions of this checkout's own dependencies, so that
    /// nothing else is fetched.
    private func prepare(_ shell: PageShell) throws {
        try shell.send("mkdir -p Sources/readme")
        try shell.write(try ReadmeService.source(), to: "Sources/readme/Readme.swift")
        try shell.send("cp ../muster/Package.resolved . || true")
    }

    private static let secondTarget = """


        package.targets.append(
            .executableTarget(
                name: "readme", dependencies: [.product(name: "Muster", package: "muster")],
                swiftSettings: [.swiftLanguageMode(.v6)]))
        """

    private func run(_ commands: String, in shell: PageShell) async throws {
        let result = try await shell.run(commands, within: 600)
        try #require(result.status == 0, "\(commands): \(result)")
    }

    /// What a command looks at may take its time: it is asked again until it shows what the page shows.
    private func compare(_ commands: String, with shown: String, line: Int, in shell: PageShell) async throws {
        let expected = ExpectedOutput(shown)
        var last = ""
        do {
            try await eventually("what line \(line) of the page shows") {
                last = try await shell.run(commands).output
                return expected.fits(last) ? () : nil
            }
        } catch {
            Issue.record("line \(line): the page shows\n\(shown)\nbut \(commands) prints\n\(last)")
            throw error
        }
    }
}
