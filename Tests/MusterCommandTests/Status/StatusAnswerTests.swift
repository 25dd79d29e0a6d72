// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth
import Testing

@testable import MusterCommand

@Suite("An answer to the question for a status")
struct StatusAnswerTests {
    private let target: StatusTarget

    init() throws { target = try StatusTarget(parsing: "http://web1:9917") }

    private func message(status: Int = 200, _ body: String) -> String? {
        let failure = #expect(throws: FetchFailure.self) { try StatusAnswer(status: status, body: Array(body.utf8)) }
        return failure?.message(for: target)
    }

    @Test("is read, and keeps the document as it came")
    func reading() throws {
        let json = try StatusReport.sample().json()
        let answer = try StatusAnswer(status: 200, body: json)
        #expect(answer.report == .sample())
        #expect(answer.document == json)
    }

    @Test(
        "succeeds when the service is live and ready, warnings or not",
        arguments: [
            (CheckState.pass, CheckState.pass, CommandExit.success), (.pass, .warn, .success),
            (.unknown, .pass, .success), (.pass, .fail, .unwell), (.fail, .pass, .unwell), (.fail, .fail, .unwell),
        ])
    func exits(live: CheckState, ready: CheckState, exit: CommandExit) throws {
        var report = StatusReport.sample()
        report.health.live = live
        report.health.ready = ready
        #expect(try StatusAnswer(status: 200, body: report.json()).exit == exit)
    }

    @Test("is refused when it is none, and the message says what it is")
    func refusals() {
        #expect(
            message("<html>")
                == "http://web1:9917: the answer is not a status report: not valid JSON; is it the endpoint of a service with Muster?"
        )
        #expect(
            message(#"{"schemaVersion": 1, "at": "soon"}"#)
                == """
                http://web1:9917: the answer is not a status report: a value has another type, at 'at'; is it the endpoint of a \
                service with Muster?
                """)
        #expect(
            message(#"{"schemaVersion": 2}"#)
                == """
                http://web1:9917: its status has version 2, which this muster does not know; use the muster of the \
                service's version
                """)
    }

    @Test(
        "with another HTTP status says what to do",
        arguments: [
            (401, "Unauthorized\n", "--user with --password-file or MUSTER_PASSWORD"), (403, "", "--cert and --key"),
            (404, "no such page\n", "'no such page': it has no status"), (429, "", "--interval"),
            (503, "busy", "HTTP status 503, 'busy': it has too much to do"), (302, "", "name the URL that it leads to"),
            (500, "<html>", "http://web1:9917: HTTP status 500"),
            (400, "this port speaks HTTPS", "is it https://?"),
        ])
    func otherStatus(status: Int, body: String, part: String) throws {
        #expect(try #require(message(status: status, body)).contains(part))
    }

    @Test("that never came is told with its URL, the reason and the remedy, on one line")
    func failures() {
        let failures: [(FetchFailure, String)] = [
            (.refused, "is the program running, and is its muster.endpoint.address"),
            (.noSocket, "no such socket"), (.notPermitted, "permission denied"), (.unknownHost, "has no address"),
            (.unreachable(reason: "No route to host"), "cannot connect: No route to host"),
            (.timedOut(limit: .milliseconds(1500)), "no answer within 1.5 s"),
            (
                .untrusted(reason: "self-signed"),
                "not trusted: self-signed; name the authority's certificate with --ca-file"
            ),
            (.tls(reason: "alert"), "TLS failed: alert"), (.badFile(reason: "no key"), "no key"),
            (.noHTTP, "is it https://?"), (.cutOff(reason: "reset\nby peer"), "reset?by peer; is it https://?"),
            (.tooLarge(limit: 9), "more than 9 bytes"), (.other(reason: "odd"), "odd"),
        ]
        for (failure, part) in failures {
            let message = failure.message(for: target)
            #expect(message.hasPrefix("http://web1:9917: "))
            #expect(message.contains(part))
            #expect(!message.contains("\n"))
        }
    }
}
