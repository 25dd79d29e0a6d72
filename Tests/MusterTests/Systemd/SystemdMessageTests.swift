// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterPlatform
import Testing

@Suite("Messages to systemd")
struct SystemdMessageTests {
    @Test("Each message is what sd_notify(3) asks for")
    func words() {
        #expect("\(SystemdMessage.ready)" == "READY=1")
        #expect("\(SystemdMessage.stopping)" == "STOPPING=1")
        #expect("\(SystemdMessage.watchdog)" == "WATCHDOG=1")
        #expect("\(SystemdMessage.mainProcess(42))" == "MAINPID=42")
        #expect("\(SystemdMessage.status("2 workers ready"))" == "STATUS=2 workers ready")
        #expect("\(SystemdMessage.status(""))" == "STATUS=")
    }

    @Test("A reload tells its instant in the same message, in microseconds")
    func reloading() {
        let instant = MonotonicInstant(nanoseconds: 1_234_567_899)
        #expect("\(SystemdMessage.reloading(at: instant))" == "RELOADING=1\nMONOTONIC_USEC=1234567")
        #expect(
            "\(SystemdMessage.reloading(at: MonotonicInstant(nanoseconds: -5)))" == "RELOADING=1\nMONOTONIC_USEC=0")
    }

    @Test("Messages are joined line by line")
    func joined() {
        let message = SystemdMessage.ready + .mainProcess(7) + .status("up")
        #expect("\(message)" == "READY=1\nMAINPID=7\nSTATUS=up")
    }

    @Test(
        "A status is one line, so that it cannot say anything else",
        arguments: [
            ("up\nMAINPID=1", "up MAINPID=1"), ("a\r\nb", "a b"), ("a\tb\u{0}c\u{7F}d", "a b c d"),
            ("a\u{85}b\u{2028}c", "a b c"), ("größer – 中", "größer – 中"), ("\n", " "),
        ])
    func oneLine(text: String, line: String) {
        #expect("\(SystemdMessage.status(text))" == "STATUS=" + line)
    }

    @Test("A long status is cut between characters")
    func bounded() {
        let limit = SystemdMessage.maximumStatusBytes
        func size(_ text: String) -> Int { "\(SystemdMessage.status(text))".utf8.count - "STATUS=".utf8.count }
        #expect(size(String(repeating: "x", count: limit)) == limit)
        #expect(size(String(repeating: "x", count: limit + 1)) == limit)
        #expect(size(String(repeating: "x", count: 1 << 20)) == limit)
        // Three bytes each: 512 is no multiple of it.
        #expect(size(String(repeating: "中", count: limit)) == limit - 2)
        #expect("\(SystemdMessage.status(String(repeating: "中", count: limit)))".hasSuffix("中"))
    }
}
