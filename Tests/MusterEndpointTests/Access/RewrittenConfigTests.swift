// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterTestSupport
import Synchronization
import Testing

@testable import MusterEndpoint

@Suite("Access: a web config file that is being rewritten")
struct RewrittenConfigTests {
    private static let hash = "$2y$04$abcdefghijklmnopqrstu.vwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    private static let users = "basic_auth_users:\n  alice: \(hash)\n"
    private static let tls = "tls_server_config:\n  cert: c\n  key: k\n"
    private static let clients =
        tls + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca: a\n"

    private static func read(_ text: String) throws -> WebConfig {
        try WebConfigReader.read(file: "web.yml") { _ in Array(text.utf8) }
    }

    @Test(
        "What demands less than before has to say so",
        arguments: [
            (users, "", "basic_auth_users"), (users, "# nothing\n", "basic_auth_users"),
            (users, "basic_auth_users:\n", "basic_auth_users"),
            (users, "http_server_config: {http2: true}\n", "basic_auth_users"), (users, tls, "basic_auth_users"),
            (tls, "", "tls_server_config"), (tls, users, "tls_server_config"),
            (tls, "tls_server_config:\n", "tls_server_config"), (clients, tls, "tls_server_config: client_auth_type"),
            (clients, "", "tls_server_config"),
            (clients + "  client_allowed_sans: [a]\n", clients, "tls_server_config: client_allowed_sans"),
            (users, "basic_auth_users: {}\n", nil), (tls, "tls_server_config: {}\n", nil),
            (clients, tls + "  client_auth_type: NoClientCert\n", nil),
            (clients, tls + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca: a\n", nil),
            (clients + "  client_allowed_sans: [a]\n", clients + "  client_allowed_sans: [b]\n", nil),
            ("", "", nil), ("", users, nil), (users, users + "  bob: \(hash)\n", nil), (tls, clients, nil),
            (users + "  bob: \(hash)\n", users, nil),
        ] as [(String, String, String?)])
    func losses(before: String, after: String, lost: String?) throws {
        let error = try Self.read(after).loss(since: Self.read(before))
        if let lost {
            #expect(error?.reason.hasPrefix("\(lost) is gone, and access would be open to more clients") == true)
        } else {
            #expect(error == nil)
        }
    }

    /// Writes a file in place, in two parts.
    private static func rewrite(_ path: String, _ text: String, between: () throws -> Void = {}) throws {
        let file = open(path, O_WRONLY | O_TRUNC)
        #expect(file >= 0)
        defer { close(file) }
        let bytes = Array(text.utf8)
        #expect(write(file, bytes, bytes.count / 2) == bytes.count / 2)
        try between()
        let rest = Array(bytes[(bytes.count / 2)...])
        #expect(write(file, rest, rest.count) == rest.count)
    }

    @Test("While it is rewritten in place, again and again, the version before holds, and nobody comes in")
    func rewriting() throws {
        let config = try WebConfigFolder(Self.users)
        let bench = try EndpointBench {
            $0.webConfigFile = config.file
            // Longer than a loaded machine takes between the halves.
            $0.webConfigSettlingTime = .seconds(3600)
        }
        var seen: Set<Int> = []
        for _ in 0..<300 {
            try Self.rewrite(config.file, Self.users) { seen.insert(try bench.get("/metrics").status) }
            seen.insert(try bench.get("/metrics").status)
        }
        #expect(seen == [401])
        #expect(!bench.log.messages.contains { $0.contains("invalid web config file") })
        try Self.rewrite(config.file, "basic_auth_users: {}\n")
        // Not at once: it may go on being written.
        #expect(try bench.get("/metrics").status == 401)
    }

    @Test("A change that nobody asks about again takes effect, too")
    func settled() throws {
        let config = try WebConfigFolder(Self.users)
        let bench = try EndpointBench { $0.webConfigFile = config.file }
        try Self.rewrite(config.file, "basic_auth_users: {}\n")
        _ = try bench.get("/metrics")
        #expect(bench.log.waits(for: "web config file reloaded"))
        #expect(try bench.get("/metrics").status == 200)
    }

    @Test("One that is emptied opens nothing, nor does what comes after it; one that says so does")
    func emptied() throws {
        let config = try WebConfigFolder(Self.users)
        let bench = try EndpointBench {
            $0.webConfigFile = config.file
            $0.webConfigSettlingTime = .zero
        }
        func warnings() -> [String] { bench.log.messages.filter { $0.hasPrefix("warning") } }
        try config.write("")
        for _ in 0..<3 { #expect(try bench.get("/metrics").status == 401) }
        #expect(warnings().count == 1)
        #expect(warnings().last?.contains("write 'basic_auth_users: {}' or restart the program") == true)
        try config.write("nonsense: [")
        #expect(try bench.get("/metrics").status == 401)
        #expect(warnings().count == 2)
        try config.write("# nothing\n")
        #expect(try bench.get("/metrics").status == 401)
        #expect(warnings().count == 3)
        try config.write("basic_auth_users: {}\n")
        #expect(try bench.get("/metrics").status == 200)
    }

    @Test("A file that was modified long ago is judged at once, one from the future after a while")
    func clocks() throws {
        let config = try WebConfigFolder(Self.users)
        let bench = try EndpointBench {
            $0.webConfigFile = config.file
            // Longer than a loaded machine takes to ask.
            $0.webConfigSettlingTime = .seconds(4)
        }
        func date(_ name: String, _ seconds: Int) {
            var times = [
                timespec(tv_sec: time(nil) + seconds, tv_nsec: 0), timespec(tv_sec: time(nil) + seconds, tv_nsec: 0),
            ]
            #expect(utimensat(AT_FDCWD, config.folder.path(name), &times, 0) == 0)
        }
        _ = try config.folder.write("basic_auth_users: {}\n", to: "next.yml")
        date("next.yml", -3600)
        #expect(rename(config.folder.path("next.yml"), config.file) == 0)
        #expect(try bench.get("/metrics").status == 200)
        try config.write(Self.users)
        date("web.yml", 3600)
        #expect(try bench.get("/metrics").status == 200)
        #expect(bench.log.waits(for: "web config file reloaded", times: 2))
        #expect(try bench.get("/metrics").status == 401)
    }
}
