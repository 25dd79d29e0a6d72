// SPDX-License-Identifier: Apache-2.0

import Configuration
import Glibc
import MusterSupervision
import MusterTestSupport
import Testing

@testable import Muster

@Suite("The console's protocol")
struct ConsoleProtocolTests {
    @Test("a line is a command with its arguments")
    func requests() throws {
        let scale = try ConsoleRequest("  scale \"web shop\" --json\t4 ")
        #expect(scale.command.name == "scale")
        #expect(scale.arguments == ["web shop", "4"])
        #expect(scale.isJSON && scale.isAction)
        #expect(scale.line == "scale \"web shop\" 4")
        #expect(try ConsoleRequest("jobs web/1").target == "web/1")
        #expect(try ConsoleRequest("jobs").target == nil)
        #expect(try ConsoleRequest("metrics web").target == nil)
        #expect(try !ConsoleRequest("log-level muster").isAction)
        #expect(try ConsoleRequest("log-level muster debug").isAction)
    }

    @Test(
        "what is no command is told why",
        arguments: [
            ("", "no command"), (" --json ", "no command"), ("frobnicate", "unknown command 'frobnicate'"),
            ("scale web", "scale GROUP N"), ("quit now", "quit"), ("jobs a b", "jobs [TARGET]"),
            ("jobs \"a", "quotation mark"),
        ])
    func usage(line: String, text: String) {
        #expect {
            try ConsoleRequest(line)
        } throws: { error in
            (error as? ConsoleUsage)?.text.contains(text) == true
        }
    }

    @Test("a reply as text is aligned, has a last line of its own, and no control characters")
    func text() throws {
        let table = ConsoleTable(
            [.init("worker"), .init("ageSeconds", .seconds), .init("memoryBytes", .bytes), .init("reason")],
            rows: [
                ["web/0", .number(0.5), .number(2048), .none], ["web/10", .none, .number(1), "a\nb\u{1B}[2J"],
            ])
        var answer = ConsoleAnswer(table, "a\rb")
        answer.status = .timeout
        #expect(
            answer.text == """
                 WORKER     AGE  MEMORY  REASON
                 web/0   500 ms   2 KiB  -
                 web/10       -     1 B  a?b?[2J
                timeout: a?b

                """)
        var reply = ConsoleReply()
        let lines = answer.text.split(separator: "\n").map(String.init)
        for line in lines { #expect(try reply.add(line) == (line == lines.last)) }
        #expect(reply.status == .timeout)
        #expect(reply.message == "a?b")
        #expect(reply.lines == lines.dropLast().map { String($0.dropFirst()) })
        #expect(ConsoleAnswer().text == "ok\n")
        #expect(throws: ConsoleClientError.notAConsole) { try reply.add("HTTP/1.1 400 Bad Request") }
        // What answers need not be a console.
        var foreign = ConsoleReply()
        #expect(try !foreign.add(" \u{1B}]0;x\u{7}"))
        #expect(try foreign.add("ok: \u{9B}2J"))
        #expect(foreign.lines == ["?]0;x?"] && foreign.message == "?2J")
    }

    @Test("a reply as JSON is one line")
    func json() throws {
        let table = ConsoleTable(
            [.init("worker"), .init("ageSeconds", .seconds)],
            rows: [["web/0", .number(1.5)], ["a\nb", .number(.infinity)]])
        let json = ConsoleAnswer(table).json
        #expect(
            json == """
                {"rows":[{"ageSeconds":1.5,"worker":"web/0"},{"ageSeconds":null,"worker":"a\\nb"}],"status":"ok"}

                """)
        var reply = ConsoleReply()
        #expect(try reply.add(String(json.dropLast())))
        #expect(reply.status == .ok)
        var failure = ConsoleReply()
        #expect(try failure.add(String(ConsoleAnswer(.failed, "no").json.dropLast())))
        #expect(failure.status == .failed)
        #expect(failure.message == "no")
        let names = ConsoleTable([.init("a")], rows: [["\u{7F}\u{9B}2J\u{202E}é\u{E0001}"]])
        #expect(
            ConsoleAnswer(names, "m\u{1B}").json == #"{"message":"m\u001b","rows":[{"a":"\u007f\u009b2J\u202e"#
                + "é" + #"\udb40\udc01"}],"status":"ok"}"# + "\n")
        var message = ConsoleReply()
        #expect(try message.add(#"{"message":"a\u001bb","status":"failed"}"#))
        #expect(message.message == "a?b")
    }

    @Test("an answer gets from a worker to its supervisor, and nothing else does")
    func relayed() throws {
        var answer = ConsoleAnswer(ConsoleTable([.init("a"), .init("bSeconds", .seconds)], rows: [["x", .none]]), "m")
        answer.lines = ["l"]
        #expect(try ConsoleAnswer(decoding: answer.encoded) == answer)
        #expect(throws: DecodingError.self) { try ConsoleAnswer(decoding: Array("{}".utf8)) }
        let uneven = ConsoleAnswer(ConsoleTable([.init("a")], rows: [["x", "y"]])).encoded
        #expect(throws: DecodingError.self) { try ConsoleAnswer(decoding: uneven) }
    }

    @Test("the answers of workers are put together, also when some are missing")
    func merge() {
        func answer(_ name: ConsoleCell) -> ConsoleAnswer {
            ConsoleAnswer(ConsoleTable([.init("name")], rows: [[name]]))
        }
        var merge = ConsoleMerge(workers: ["web/0", "web/1", "web/2"])
        merge.add(answer("c"), of: "web/2")
        merge.add(answer("a"), of: "web/0")
        merge.add(answer("b"), of: "web/0")
        merge.add(answer("x"), of: "other/0")
        #expect(!merge.isComplete)
        merge.giveUp(after: .seconds(2))
        #expect(merge.isComplete)
        #expect(merge.answer.status == .timeout)
        #expect(merge.answer.message == "web/1: no answer within 2 s")
        #expect(merge.answer.table?.rows == [["web/0", "a"], ["web/2", "c"]])
        #expect(merge.answer.table?.columns.map(\.key) == ["worker", "name"])
        merge = ConsoleMerge(workers: ["web/0", "web/1"])
        merge.add(ConsoleAnswer(.timeout, "late"), of: "web/0")
        merge.add(ConsoleAnswer(.failed, "gone"), of: "web/1")
        #expect(merge.answer.status == .failed)
    }

    @Test("of processes that cannot be looked at, the worst is told, in any order", arguments: [false, true])
    func inspected(isReversed: Bool) async throws {
        let errors: [InspectionError] = [.noAnswer, .busy]
        let processes = (isReversed ? errors.reversed() : errors).map { error in
            InspectedProcess(name: "web/0") { () throws(InspectionError) in throw error }
        }
        let request = try ConsoleRequest("threads")
        let answer = await withCheckedContinuation { continuation in
            ConsoleInspection.answer(request, of: processes) { continuation.resume(returning: $0) }
        }
        #expect(answer.status == .failed)
    }

    @Test("a place is a path, a port or a range of ports")
    func places() throws {
        #expect(try ConsolePlace(parsing: "/run/{pid}.sock") == .socket(path: "/run/{pid}.sock"))
        #expect(try ConsolePlace(parsing: "unix:./a") == .socket(path: "./a"))
        #expect(try ConsolePlace(parsing: "0") == .ports(0...0))
        #expect(try ConsolePlace(parsing: "9918:9920") == .ports(9918...9920))
        for text in ["", "console", "9920:9918", "a:b", "1:", ":1", "65536", "0:5", "-1", "1:2:3"] {
            #expect(throws: ConsolePlaceError.self, "\(text)") { try ConsolePlace(parsing: text) }
            let settings = InMemoryProvider(values: ["muster.console": .init(.string(text), isSecret: false)])
            #expect(throws: SettingsError.self, "\(text)") {
                try MusterSettings(config: ConfigReader(provider: settings))
            }
        }
    }

    @Test("a template stands for the process' own path, and one with other braces for itself")
    func templates() throws {
        func path(_ template: String) -> String { ConsolePlace.path(template, pid: 7, slot: "web/a-1").path }
        #expect(path("/run/{pid}-{slot}.sock") == "/run/7-web_a-1.sock")
        for broken in ["/run/{worker}", "/run/{pid", "/run/pid}", "/{}/{pid}"] {
            #expect(path(broken) == broken)
            #expect(!ConsolePlace.path(broken, pid: 7, slot: "").isSound)
        }
        #expect(ConsolePlace.socket(path: "/run/{slot}").isForEachWorker)
        #expect(!ConsolePlace.socket(path: "/run/{slot}{").isForEachWorker)
        let folder = try TemporaryFolder()
        for name in ["a-12-main.sock", "a-7-main.sock", "a--main.sock", "a-x-main.sock", "a-7-web-0.sock"] {
            _ = try folder.write("", to: name)
        }
        #expect(
            ConsolePlace.paths(folder.path("a-{pid}-{slot}.sock")) == [
                folder.path("a-12-main.sock"), folder.path("a-7-main.sock"),
            ])
    }

    @Test("the kernel's table tells whose a connection is, as long as its owner has it open")
    func owners() {
        func table(_ state: String, inode: String) -> String {
            """
              sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
               0: 0100007F:26B0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
               1: 0100007F:26B0 0100007F:A1B2 01 00000000:00000000 00:00000000 00000000     5        0 12 1 0 20 4 30 10 -1
               2: 0100007F:A1B2 0100007F:26B0 \(state) 00000000:00000000 00:00000000 00000000  1000        0 \(inode) 1 0
            """
        }
        func owner(_ table: String) -> UInt32? {
            ConsolePeer.uid(in: table, from: "0100007F:A1B2", to: "0100007F:26B0")
        }
        #expect(owner(table("01", inode: "13")) == 1000)
        // It has ended its own direction.
        #expect(owner(table("04", inode: "13")) == 1000)
        #expect(owner(table("05", inode: "13")) == 1000)
        #expect(owner(table("06", inode: "0")) == nil)
        #expect(owner(table("01", inode: "0")) == nil)
        #expect(owner("") == nil)
    }

    @Test("the overflow user, who may be any, is admitted at a Unix socket only")
    func overflowUser() throws {
        let pair = try SocketPair()
        var peer = try #require(ConsolePeer(of: pair.near.rawValue, isUnix: true))
        #expect(peer.isAdmitted() && peer.isAdmitted(by: peer.uid) && peer.pid == getpid())
        peer.uid = ConsolePeer.overflowUser
        #expect(peer.isAdmitted(by: ConsolePeer.overflowUser) && !peer.isAdmitted(by: 1000))
        peer.pid = nil
        #expect(!peer.isAdmitted(by: ConsolePeer.overflowUser))
        peer.uid = 1000
        #expect(peer.isAdmitted(by: 1000) && !peer.isAdmitted(by: 1001))
        peer.uid = 0
        #expect(peer.isAdmitted(by: 1000))
    }
}
