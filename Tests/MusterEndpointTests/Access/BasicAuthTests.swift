// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterMetrics
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("Access: users")
struct BasicAuthTests {
    /// Their passwords are their names' doubles; the costs differ.
    static let users = "basic_auth_users:\n  alice: \(hash("a", cost: "04"))\n  émile: \(hash("b", cost: "05"))\n"

    /// A hash for a check that does not compute.
    static func hash(_ letter: String, cost: String) -> String {
        "$2y$\(cost)$" + String(repeating: letter, count: 53)
    }

    /// Checks at once, and counts; what it was asked to compare with is kept.
    final class Clerk: Sendable {
        let asked = Box<[(password: String, hash: BcryptHash)]>([])

        var count: Int { asked.value.count }

        func check(_ password: [UInt8], _ hash: BcryptHash) -> Bool {
            let text = String(decoding: password, as: UTF8.self)
            asked.change { $0.append((text, hash)) }
            return (text == "alicealice" && hash.cost == 4) || (text == "émile:émile" && hash.cost == 5)
        }
    }

    private func bench(
        _ config: WebConfigFolder, opensProbes: Bool = false, registry: MetricRegistry? = nil,
        check: @escaping PasswordVerifier.Check
    ) throws -> EndpointBench {
        try EndpointBench(registry: registry) {
            $0.webConfigFile = config.file
            $0.webConfigSettlingTime = .zero
            $0.opensProbes = opensProbes
            $0.webConfigSettlingTime = .zero
            $0.passwordCheck = check
        }
    }

    @Test("Who knows a password is answered on every route, nobody else on any")
    func routes() throws {
        let clerk = Clerk()
        let config = try WebConfigFolder(Self.users)
        let bench = try bench(config, check: clerk.check)
        let alice = WebConfigFolder.login("alice", "alicealice")
        for (path, body) in [
            ("/metrics", "text all 1\n"), ("/livez", "ok"), ("/readyz", "ok"), ("/nothing", "not found\n"),
        ] {
            let refused = try bench.get(path)
            #expect(refused.status == 401)
            #expect(refused.text == "user name and password required\n")
            #expect(refused.header("www-authenticate") == #"Basic realm="Muster", charset="UTF-8""#)
            #expect(try bench.get(path, [alice]).text == body)
        }
        let client = try bench.client()
        client.request("POST", "/metrics", [])
        #expect(try client.response().status == 401)
        client.request("POST", "/metrics", [alice])
        #expect(try client.response().status == 405)
    }

    @Test("Colons and UTF-8 in names and passwords are taken as they are")
    func unicode() throws {
        let config = try WebConfigFolder(Self.users)
        let clerk = Clerk()
        let bench = try bench(config, check: clerk.check)
        #expect(try bench.get("/livez", [WebConfigFolder.login("émile", "émile:émile")]).text == "ok")
        #expect(try bench.get("/livez", [WebConfigFolder.login("émile", "émile")]).status == 401)
        #expect(try bench.get("/livez", ["Authorization: Basic nonsense"]).status == 401)
        #expect(try bench.get("/livez", ["Authorization: Bearer x"]).status == 401)
    }

    @Test("A password is computed once, right or wrong, and a stranger's as often, at the highest cost there is")
    func once() throws {
        let config = try WebConfigFolder(Self.users)
        let clerk = Clerk()
        let bench = try bench(config, check: clerk.check)
        for _ in 0..<3 {
            #expect(try bench.get("/livez", [WebConfigFolder.login("alice", "alicealice")]).status == 200)
            #expect(try bench.get("/livez", [WebConfigFolder.login("alice", "wrong")]).status == 401)
            #expect(try bench.get("/livez", [WebConfigFolder.login("mallory", "alicealice")]).status == 401)
        }
        #expect(clerk.asked.value.map(\.password) == ["alicealice", "wrong", "alicealice"])
        #expect(clerk.asked.value.map(\.hash.cost) == [4, 4, 5])
        #expect(try bench.get("/livez", [WebConfigFolder.login("alice", "alicealice")]).status == 200)
        // Other users, other passwords: what was known of the old ones is gone.
        try config.write("basic_auth_users:\n  alice: \(Self.hash("c", cost: "04"))\n")
        #expect(try bench.get("/livez", [WebConfigFolder.login("alice", "alicealice")]).status == 200)
        #expect(clerk.count == 4)
        #expect(!bench.log.messages.joined().contains("alicealice"))
    }

    @Test("While a password is computed, probes are answered, and the same password waits for the same result")
    func concurrent() throws {
        let config = try WebConfigFolder(Self.users)
        let begun = Signal()
        let go = Signal()
        let counter = Box(0)
        let bench = try bench(config, opensProbes: true) { _, _ in
            counter.change { $0 += 1 }
            begun.send()
            return go.wait()
        }
        let clients = try (0..<3).map { _ in try bench.client() }
        for client in clients { client.request("GET", "/metrics", [WebConfigFolder.login("alice", "x")]) }
        #expect(begun.wait())
        // One of those that wait gives up.
        let impatient = try bench.client()
        impatient.request("GET", "/metrics", [WebConfigFolder.login("alice", "x")])
        shutdown(impatient.descriptor, Int32(SHUT_RDWR))
        #expect(try bench.get("/livez").text == "ok")
        #expect(try bench.get("/metrics").status == 401)
        go.send()
        for client in clients { #expect(try client.response().status == 200) }
        #expect(counter.value == 1)
    }

    @Test("When too many passwords wait, others are told to come again; at the end all are refused")
    func full() throws {
        let config = try WebConfigFolder(Self.users)
        let begun = Signal()
        let go = Signal()
        let bench = try bench(config) { _, _ in
            begun.send()
            return go.wait()
        }
        // One more than may wait: whichever is read last is refused.
        let clients = try (0...PasswordVerifier.queueLimit).map { number in
            let client = try bench.client()
            client.request("GET", "/livez", [WebConfigFolder.login("alice", "\(number)")])
            return client
        }
        #expect(begun.wait())
        var readable = clients.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        #expect(poll(&readable, nfds_t(readable.count), 30_000) == 1)
        let index = try #require(readable.firstIndex { $0.revents != 0 })
        let late = try clients[index].response()
        #expect(late.status == 503)
        #expect(late.text == "too many logins in progress; try again\n")
        #expect(late.header("retry-after") == "1")
        bench.endpoint.stop()
        for (number, client) in clients.enumerated() where number != index {
            #expect(try client.response().text == "the endpoint is stopping\n")
        }
        for _ in clients { go.send() }
    }

    @Test("Open probes are answered for everybody, and nothing else is")
    func openProbes() throws {
        let config = try WebConfigFolder(Self.users + "rate_limit: {interval: 1h, burst: 2}\n")
        let clerk = Clerk()
        let bench = try bench(config, opensProbes: true, check: clerk.check)
        for path in ["/livez", "/readyz", "/startupz", "/healthz", "/livez/ping"] {
            #expect(try bench.get(path).text == "ok")
        }
        #expect(try bench.get("/").status == 401)
        #expect(try bench.get("/metrics").status == 401)
        #expect(try bench.get("/metrics").status == 429)
        #expect(try bench.get("/livez").text == "ok")
    }

    @Test("More requests than the rate limit allows are told to come again, before anything is checked")
    func rateLimit() throws {
        let config = try WebConfigFolder(Self.users + "rate_limit: {interval: 1h, burst: 3}\n")
        let clerk = Clerk()
        let bench = try bench(config, check: clerk.check)
        let alice = WebConfigFolder.login("alice", "alicealice")
        #expect(try (0..<3).map { _ in try bench.get("/livez", [alice]).status } == [200, 200, 200])
        let refused = try bench.get("/livez", [WebConfigFolder.login("alice", "new")])
        #expect(refused.status == 429)
        #expect(refused.header("retry-after") == "1")
        #expect(clerk.count == 1)
        try config.write(Self.users)
        #expect(try bench.get("/livez", [alice]).status == 200)
    }

    @Test("Headers are on every answer, and take the place of a route's own")
    func headers() throws {
        let config = try WebConfigFolder(
            """
            http_server_config:
              headers:
                Content-Security-Policy: default-src 'self'
                X-Frame-Options: deny
                X-Content-Type-Options: nosniff
            """)
        let bench = try EndpointBench {
            $0.webConfigFile = config.file
            $0.webConfigSettlingTime = .zero
        }
        for path in ["/", "/status", "/metrics", "/livez", "/livez?verbose", "/nothing"] {
            let response = try bench.get(path)
            for (name, value) in [
                ("content-security-policy", "default-src 'self'"), ("x-frame-options", "deny"),
                ("x-content-type-options", "nosniff"),
            ] {
                #expect(response.headers.filter { $0.name == name }.map(\.value) == [value])
            }
        }
        try config.write("")
        let plain = try bench.get("/")
        #expect(plain.header("x-frame-options") == nil)
        #expect(plain.header("content-security-policy")?.hasPrefix("default-src 'none'") == true)
        #expect(plain.header("x-content-type-options") == "nosniff")
    }

    @Test("A bad file at the start is an error with setting, line and reason")
    func badAtStart() throws {
        let config = try WebConfigFolder("basic_auth_users:\n  alice: secret\n")
        let error = #expect(throws: EndpointError.self) {
            try EndpointBench {
                $0.webConfigFile = config.file
                $0.webConfigFileSetting = "--web-config-file"
            }
        }
        #expect(
            error?.description.hasPrefix(
                "invalid web config file (--web-config-file): \(config.file):2: basic_auth_users: the "
                    + "value of 'alice' is not a bcrypt hash") == true)
    }

    @Test("A bad file later leaves what was before, is told of once, and shows in the metrics")
    func badLater() throws {
        let clerk = Clerk()
        let config = try WebConfigFolder(Self.users)
        let writer = try ArenaWriter.create(name: "test", capacity: 1 << 20)
        let registry = MetricRegistry(arena: writer, logger: RecordedLog().logger)
        let reader = try ArenaReader(descriptor: writer.descriptor.rawValue)
        let exposition = Exposition(sources: [ArenaSource(reader: reader, constantLabels: [])])
        let bench = try bench(config, registry: registry, check: clerk.check)
        func status() throws -> Int { try bench.get("/livez").status }
        func warnings() -> [String] { bench.log.messages.filter { $0.hasPrefix("warning") } }
        func shows(_ line: String) -> Bool {
            String(decoding: exposition.rendered(.text), as: UTF8.self).contains(line + "\n")
        }
        #expect(try status() == 401)
        #expect(shows("muster_endpoint_web_config_valid 1"))
        try config.write("basic_auth_users:\n  alice: [")
        for _ in 0..<3 { #expect(try status() == 401) }
        #expect(warnings().count == 1)
        #expect(warnings().first?.contains("\(config.file):2: invalid YAML") == true)
        #expect(shows("muster_endpoint_web_config_valid 0"))
        try config.write("who: knows\n")
        #expect(try status() == 401)
        #expect(warnings().count == 2)
        try config.folder.remove("web.yml")
        for _ in 0..<2 { #expect(try status() == 401) }
        #expect(warnings().count == 3)
        #expect(warnings().last?.contains("cannot be read: No such file or directory") == true)
        try config.write("")
        #expect(try status() == 401)
        #expect(shows("muster_endpoint_web_config_valid 0"))
        try config.write("basic_auth_users: {}")
        #expect(try status() == 200)
        #expect(shows("muster_endpoint_web_config_valid 1"))
        #expect(shows("muster_endpoint_web_config_loads_total{outcome=\"failure\"} 4"))
        #expect(shows("muster_endpoint_web_config_loads_total{outcome=\"success\"} 2"))
    }

    @Test("A link that is turned to another file is a change")
    func link() throws {
        let config = try WebConfigFolder("")
        _ = try config.folder.write(Self.users, to: "strict.yml")
        try config.folder.link("now.yml", to: "web.yml")
        let bench = try EndpointBench {
            $0.webConfigFile = config.folder.path("now.yml")
            $0.webConfigSettlingTime = .zero
        }
        #expect(try bench.get("/livez").status == 200)
        try config.folder.link("now.yml", to: "strict.yml")
        #expect(try bench.get("/livez").status == 401)
    }
}
