// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterCommand
import Testing

@Suite("Completion of a console's lines")
struct ConsoleCompletionTests {
    private func completion() throws -> ConsoleCompletion {
        var reply = ConsoleReply()
        #expect(
            try reply.add(
                #"{"rows":[{"command":"scale","arguments":"GROUP N"},{"command":"threads","arguments":"[TARGET]"},"#
                    + #"{"command":"log-level","arguments":"[LABEL] [LEVEL]"},{"command":"quit","arguments":""},"#
                    + #"{"command":"help","arguments":"[COMMAND]","more":1}],"status":"ok"}"#))
        return ConsoleCompletion(reply)
    }

    @Test(
        "The last word of a line is what the command's parameters say",
        arguments: [
            ("", "", .command), ("sc", "sc", .command), ("help s", "s", .command), ("scale ", "", .group),
            ("scale sto", "sto", .group), ("scale store 3", "3", .other), ("scale store 3 ", "", .other),
            ("threads store/0", "store/0", .target), ("threads --json st", "st", .target), ("quit ", "", .other),
            ("log-level a.b ", "", .level), ("log-level ", "", .label), ("what ", "", .other),
            ("scale \"web sh", "", .other),
        ] as [(String, String, ConsoleCompletion.Kind)])
    func places(line: String, word: String, kind: ConsoleCompletion.Kind) throws {
        let last = try completion().lastWord(of: line)
        #expect(last.word == word && last.kind == kind)
    }

    @Test("A word goes on as far as it is certain, and then there is a choice")
    func words() throws {
        let names = ["workers", "worker-pool", "web shop", "web", "loops"]
        func complete(_ word: String) -> [String] {
            let (insertion, choices) = ConsoleCompletion.complete(word, with: names)
            return [insertion] + choices
        }
        #expect(complete("l") == ["oops "])
        #expect(complete("wo") == ["rker"])
        #expect(complete("worker") == ["", "worker-pool", "workers"])
        #expect(complete("web") == ["", "web", "web shop"])
        #expect(complete("x") == [""])
        #expect(try completion().commands == ["help", "log-level", "quit", "scale", "threads"])
    }

    @Test("What a terminal could take for a command of its own is not a candidate")
    func controlCharacters() throws {
        var reply = ConsoleReply()
        let rows = #"{"rows":[{"label":"a"},{"label":"\u001b]0;x\u0007"},{"label":"\u009b2J"}],"status":"ok"}"#
        #expect(try reply.add(rows))
        #expect(ConsoleCompletion.column("label", of: reply) == ["a"])
    }

    @Test("Candidates are shown in columns that fit the terminal")
    func columns() {
        let names = ["a", "bb", "ccc", "d", "e"]
        #expect(ConsoleCompletion.columns(names, width: 80) == ["a    bb   ccc  d    e"])
        #expect(ConsoleCompletion.columns(names, width: 12) == ["a    d", "bb   e", "ccc"])
        #expect(ConsoleCompletion.columns(names, width: 1) == names)
        #expect(ConsoleCompletion.columns([], width: 80).isEmpty)
    }

    @Test("The history is where the standard says")
    func history() {
        func file(_ variables: [String: String]) -> String? {
            ConsoleCompletion.historyFile { variables[$0] }
        }
        #expect(file(["HOME": "/home/ann"]) == "/home/ann/.local/state/muster/console-history")
        #expect(file(["HOME": "/home/ann", "XDG_STATE_HOME": "/state"]) == "/state/muster/console-history")
        #expect(file(["HOME": "/h", "XDG_STATE_HOME": "state"]) == "/h/.local/state/muster/console-history")
        #expect(file([:]) == nil)
    }
}
