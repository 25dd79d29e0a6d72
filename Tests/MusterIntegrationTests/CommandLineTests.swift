// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "The command line", .enabled(if: MusterCommandLine.isBuilt, "build the command line first: make muster"),
    .timeLimit(.minutes(5)))
struct CommandLineTests {
    @Test("explains itself: examples, exit codes, each option")
    func help() async throws {
        let help = try await MusterCommandLine.run("--help")
        #expect(help.status == 0)
        #expect(help.output.contains("status") && help.output.contains("check"))
        let status = try await MusterCommandLine.run("status", "--help")
        #expect(status.output.contains("Examples:") && status.output.contains("Exit codes:"))
        for option in [
            "--watch", "--interval", "--json", "--user", "--password-file", "--ca-file", "--cert", "--key",
            "--insecure", "--timeout", "--no-color",
        ] {
            #expect(status.output.contains(option))
        }
        #expect(status.output.contains("(default: 2s)"))
        #expect(try await MusterCommandLine.run("check", "--help").output.contains("Exit codes:"))
        #expect(try await MusterCommandLine.run("--version").output.contains(/^muster \d+\.\d+/))
        #expect(try await MusterCommandLine.run("nonsense").status == 64)
    }

    @Test("is described with each of its options, and none that it has not")
    func page() async throws {
        let page = try String(
            contentsOf: URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().appendingPathComponent("docs/command-line.md"), encoding: .utf8)
        var options: Set<Substring> = []
        for command in [["status"], ["check"], ["compare"], ["compare", "run"]] {
            let program = try MusterCommandLine.start(command + ["--help"])
            #expect(try await program.status() == 0)
            let help = program.output
            options.formUnion(help.matches(of: /--[a-z][a-z-]+/).map(\.0))
        }
        #expect(options.count > 18)
        // A service's settings are no options of this program's.
        func isOwn(_ option: Substring) -> Bool { !option.hasPrefix("--muster-") && option != "--version" }
        let described = Set(page.matches(of: /--[a-z][a-z-]+/).map(\.0))
        #expect(options.filter(isOwn).subtracting(described).isEmpty)
        let elsewhere: Set<Substring> = ["--generate-completion-script", "--unbuffered", "--offline"]
        #expect(described.filter(isOwn).subtracting(options).subtracting(elsewhere).isEmpty)
    }

    @Test("has completions that bash takes and uses")
    func bash() async throws {
        let script = try await MusterCommandLine.run("--generate-completion-script", "bash")
        #expect(script.status == 0)
        let folder = try TemporaryFolder()
        let file = try folder.write(script.output, to: "muster.bash")
        let syntax = try Program("/bin/bash", ["-n", file])
        #expect(try await syntax.status() == 0, "\(syntax.errors)")
        func complete(_ words: String...) async throws -> [String] {
            let list = words.map { "'\($0)'" }.joined(separator: " ")
            let line = words.joined(separator: " ")
            let program = try Program(
                "/bin/bash",
                [
                    "--norc", "-c",
                    """
                    source "$0"
                    COMP_WORDS=(\(list)); COMP_CWORD=\(words.count - 1); COMP_LINE='\(line)'; COMP_POINT=${#COMP_LINE}
                    function=$(complete -p muster | sed 's/.*-F \\([^ ]*\\).*/\\1/')
                    $function muster "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
                    printf '%s\\n' "${COMPREPLY[@]}"
                    """, file,
                ], environment: ["PATH": "/usr/bin:/bin"])
            #expect(try await program.status() == 0, "\(program.errors)")
            return program.output.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
        }
        #expect(try await complete("muster", "st") == ["status"])
        #expect(try await complete("muster", "status", "--wa") == ["--watch"])
        #expect(try await complete("muster", "check", "--we") == ["--web-config"])
        #expect(try await complete("muster", "status", "unix:").contains { $0.contains("/") })
    }

    @Test(
        "has completions for other shells", arguments: [("zsh", "#compdef muster"), ("fish", "complete -c 'muster'")])
    func others(shell: String, sign: String) async throws {
        let script = try await MusterCommandLine.run("--generate-completion-script", shell)
        #expect(script.status == 0)
        #expect(script.output.contains(sign), "\(script.output.prefix(300))")
        #expect(script.output.contains("password-file"))
        // Where the shell is there, it says itself what it thinks.
        guard let path = find(shell) else { return }
        let folder = try TemporaryFolder()
        let syntax = try Program(path, ["-n", try folder.write(script.output, to: "completions")])
        #expect(try await syntax.status() == 0, "\(syntax.errors)")
    }
}
