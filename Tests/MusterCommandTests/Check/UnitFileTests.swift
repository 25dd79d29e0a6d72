// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import MusterCommand

@Suite("A unit file")
struct UnitFileTests {
    @Test("is read with comments, joined lines and repeated settings")
    func reading() {
        let unit = UnitFile(
            path: "/etc/systemd/system/mailer.service",
            text: """
                # a comment
                [Unit]
                Description = A mailer

                [Service]
                ; another one
                ExecStart=/opt/mailer \\
                    # in between
                    --muster-liveness-limit 5s \\
                  --more
                Environment=A=1
                Environment=B=2
                TimeoutStopSec=30
                TimeoutStopSec=70
                Restart=always
                Restart=
                """)
        #expect(unit.name == "mailer.service")
        #expect(unit.problems == [])
        #expect(unit.last("Unit", "Description")?.value == "A mailer")
        let start = unit.last("Service", "ExecStart")
        #expect(start?.line == 7)
        #expect(UnitWords.split(start?.value ?? "") == ["/opt/mailer", "--muster-liveness-limit", "5s", "--more"])
        #expect(unit.all("Service", "Environment").map(\.value) == ["A=1", "B=2"])
        #expect(unit.last("Service", "TimeoutStopSec")?.line == 14)
        #expect(unit.last("Service", "Restart") == nil)
    }

    @Test("forgets a list at an empty setting")
    func reset() {
        let unit = UnitFile(path: "a.service", text: "[Service]\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2")
        #expect(unit.all("Service", "Environment").map(\.value) == ["B=2"])
    }

    @Test("tells of lines that systemd ignores")
    func problems() {
        let unit = UnitFile(path: "a.service", text: "Type=notify\n[Service\nnonsense\n[Service]\n=x\nType=notify\\")
        #expect(unit.problems.map(\.line) == [1, 2, 3, 5])
        #expect(unit.problems[0].reason == "'Type' stands before any section; write [Service] or so above it")
        #expect(unit.last("Service", "Type")?.value == "notify")
    }

    @Test(
        "has words that may be quoted",
        arguments: [
            (#"A=1 "B=two words" 'C=x'"#, ["A=1", "B=two words", "C=x"]), (#"A="two words" B"#, ["A=two words", "B"]),
            (#"a\ b "c\"d" """#, ["a b", "c\"d", ""]), ("  ", []), (#"it's"#, ["it's"]), (#""open"#, nil),
        ] as [(String, [String]?)])
    func words(text: String, words: [String]?) {
        #expect(UnitWords.split(text) == words)
    }

    @Test(
        "has time spans",
        arguments: [
            ("70", .limited(.seconds(70))), ("1min 30s", .limited(.seconds(90))), ("1m30", .limited(.seconds(90))),
            ("2h", .limited(.seconds(7200))), ("500ms", .limited(.milliseconds(500))),
            ("1.5 sec", .limited(.milliseconds(1500))),
            ("infinity", .infinite), ("0", .limited(.zero)), ("", nil), ("soon", nil), ("5 parsecs", nil), ("-1", nil),
        ] as [(String, SystemdDuration?)])
    func spans(text: String, expected: SystemdDuration?) {
        #expect(SystemdDuration(parsing: text) == expected)
    }
}
