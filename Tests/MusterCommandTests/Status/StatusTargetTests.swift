// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import MusterCommand

@Suite("Where a status is asked for")
struct StatusTargetTests {
    @Test(
        "can be written as a URL, an address or a socket's path",
        arguments: [
            ("http://127.0.0.1:9917", "http://127.0.0.1:9917/status", nil),
            ("HTTPS://web1:9917/", "https://web1:9917/status", nil),
            ("https://proxy/mailer", "https://proxy/mailer/status", nil),
            ("http://web1/status", "http://web1/status", nil),
            ("web1", "http://web1:9917/status", nil),
            ("web1:80", "http://web1:80/status", nil),
            (":8080", "http://127.0.0.1:8080/status", nil),
            ("[::1]", "http://[::1]:9917/status", nil),
            ("[::1]:80", "http://[::1]:80/status", nil),
            ("unix:/run/a.sock", "http://localhost/status", "/run/a.sock"),
            ("unix:./a.sock", "http://localhost/status", "./a.sock"),
            ("https+unix:/run/a.sock", "https://localhost/status", "/run/a.sock"),
        ] as [(String, String, String?)])
    func forms(text: String, url: String, path: String?) throws {
        let target = try StatusTarget(parsing: text)
        #expect(target.url == url)
        #expect(target.socketPath == path)
        #expect(target.isEncrypted == url.hasPrefix("https"))
    }

    @Test(
        "is refused with what is wrong",
        arguments: [
            ("", "'' is not a URL: write http://127.0.0.1:9917 or unix:/run/mailer.sock"),
            ("http://a b", "'http://a b' is not a URL: write http://127.0.0.1:9917 or unix:/run/mailer.sock"),
            ("ftp://web1", "'ftp://web1': 'ftp' is not a supported protocol: use http, https or unix"),
            ("http://", "'http://' names no host"),
            ("unix:", "'unix:' has no path of a socket: write unix:/run/mailer.sock"),
            ("unix:a.sock", "'unix:a.sock' has no path of a socket: write unix:/run/mailer.sock"),
            (
                "http://me:secret@web1",
                "a password in the URL is seen by everybody on this machine: use --user and --password-file"
            ),
            ("http://web1/?a=b", "'http://web1/?a=b': write the URL without '?' and '#'"),
        ])
    func refusals(text: String, message: String) {
        let problem = #expect(throws: StatusTarget.Problem.self) { try StatusTarget(parsing: text) }
        #expect(problem?.description == message)
    }
}
