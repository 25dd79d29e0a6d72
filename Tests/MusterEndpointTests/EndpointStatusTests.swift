// SPDX-License-Identifier: Apache-2.0

import MusterMetrics
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("The endpoint's status page")
struct EndpointStatusTests {
    @Test("The page links the routes and lets the browser run nothing but its own")
    func page() throws {
        let response = try EndpointBench(status: TestStatusSource()).get("/")
        #expect(response.status == 200)
        #expect(response.header("content-type") == "text/html; charset=utf-8")
        #expect(response.header("cache-control") == "no-store")
        #expect(response.header("x-content-type-options") == "nosniff")
        for path in ["metrics", "livez?verbose", "readyz?verbose", "startupz?verbose", "status"] {
            #expect(response.text.contains("href=\"\(path)\""))
        }
        let policy = try #require(response.header("content-security-policy"))
        let directives = policy.split(separator: "; ").map(String.init)
        for directive in [
            "default-src 'none'", "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'",
            "frame-ancestors 'none'",
        ] {
            #expect(directives.contains(directive))
        }
        #expect(directives.contains("style-src \(PageStyle.digest)"))
        #expect(directives.contains("script-src \(PageScript.digest)"))
        #expect(!policy.contains("unsafe"))
        // Nothing of the page is outside its style, where digests would not reach.
        #expect(!response.text.contains(" style="))
        #expect(response.text.firstMatch(of: /\son[a-z]+=/) == nil)
    }

    @Test(
        "The policy's digests are those of what is in the page",
        .enabled(if: PythonTool.has("hashlib"), "install python3 for this test"))
    func digests() async throws {
        let page = try EndpointBench(status: TestStatusSource()).get("/").text
        for (element, digest) in [("style", PageStyle.digest), ("script", PageScript.digest)] {
            let rest = try #require(page.split(separator: "<\(element)>").last)
            let text = String(rest.split(separator: "</\(element)>")[0])
            let program = """
                import base64, hashlib, sys
                print("'sha256-" + base64.b64encode(hashlib.sha256(sys.argv[1].encode()).digest()).decode() + "'")
                """
            let answer = try await PythonTool.run(["-c", program, text])
            #expect(answer.text == digest + "\n", "of the \(element)")
        }
    }

    /// A source that takes as long as the test wants.
    private final class HeldSource: StatusSource {
        let arrival = Signal()
        let gate = Gate()

        func look() -> StatusLook {
            arrival.send()
            gate.pass()
            return StatusLook(report: StatusSamples.report())
        }
    }

    @Test(
        "A look at the workers that lasts delays no probe, whoever has asked for it",
        arguments: ["/status", "/", "/metrics"])
    func longLook(path: String) throws {
        let source = HeldSource()
        let bench = try EndpointBench(status: source)
        // Or a failure would wait for the endpoint's end.
        defer { for _ in 0..<10 { source.gate.open() } }
        let hasOwnBody = path == "/metrics"
        let clients = try (0..<(hasOwnBody ? 1 : 3)).map { _ in try bench.client() }
        for client in clients { client.request("GET", path) }
        #expect(source.arrival.wait())
        for _ in 0..<10 { #expect(try bench.get("/livez").text == "ok") }
        // A scrape does not wait for the point that it gives the history.
        if hasOwnBody { for client in clients { #expect(try client.response().status == 200) } }
        for _ in 0..<10 { source.gate.open() }
        if !hasOwnBody { for client in clients { #expect(try client.response().status == 200) } }
        for client in clients { #expect(try client.get("/livez").text == "ok") }
    }

    @Test("The same is there as JSON")
    func json() throws {
        let bench = try EndpointBench(status: TestStatusSource())
        let response = try bench.get("/status")
        #expect(response.status == 200)
        #expect(response.header("content-type") == "application/json")
        #expect(response.header("cache-control") == "no-store")
        let report = try StatusReport(json: response.body)
        #expect(report.workers.count == 2)
        #expect(report.loops.map(\.name) == ["loop-0"])
        #expect(report.history.at.count == 1)
    }

    @Test(
        "Who prefers JSON gets it at / too",
        arguments: [
            ("application/json", "application/json"),
            ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
            ("*/*", "text/html; charset=utf-8"), ("application/json;q=0.5, text/html", "text/html; charset=utf-8"),
            ("image/png", "text/html; charset=utf-8"),
        ])
    func negotiation(accept: String, type: String) throws {
        let response = try EndpointBench(status: TestStatusSource()).get("/", ["Accept: \(accept)"])
        #expect(response.header("content-type") == type)
        #expect(response.header("vary") == "Accept")
    }

    @Test("HEAD has the headers of GET and no body", arguments: ["/", "/status"])
    func head(path: String) throws {
        let client = try EndpointBench(status: TestStatusSource()).client()
        client.request("HEAD", path)
        let head = try client.response(hasBody: false)
        let get = try client.get(path)
        #expect(head.status == 200)
        for (name, _) in get.headers { #expect(head.header(name) != nil, "\(name)") }
    }

    @Test("A scrape leaves a point in the history")
    func scrapes() async throws {
        let source = TestStatusSource()
        let bench = try EndpointBench(status: source)
        #expect(try bench.get("/metrics").status == 200)
        try await until { source.looks.value == 1 }
        #expect(try bench.get("/metrics").status == 200)
        #expect(try bench.get("/livez").status == 200)
        #expect(source.looks.value == 1, "two seconds have not passed")
    }

    @Test("An endpoint without a source shows its checks")
    func bare() throws {
        let bench = try EndpointBench()
        try bench.health.register(.probe("disk", .ready) { .fail("it is <full>") })
        let page = try bench.get("/").text
        #expect(page.contains("it is &lt;full&gt;"))
        let report = try StatusReport(json: try bench.get("/status").body)
        #expect(report.mode == .endpoint)
        #expect(report.health.ready == .fail)
        #expect(report.state == .unready)
    }

    @Test("A status that cannot be written is refused, and the next one is not")
    func unwritable() throws {
        let source = TestStatusSource()
        source.found.change { $0.report.process.cpuSeconds = .nan }
        let bench = try EndpointBench(status: source)
        #expect(try bench.get("/status").status == 500)
        #expect(try bench.get("/").status == 200)
    }

    @Test("Pages count as scrapes: readers that are slow cannot have any number of them")
    func limit() throws {
        let source = TestStatusSource()
        // More than the kernel's buffers take; the JSON cuts nothing off.
        source.found.change { $0.report.name = String(repeating: "x", count: 16 << 20) }
        let bench = try EndpointBench(status: source) { $0.concurrentScrapeLimit = 2 }
        let slow = try (0..<2).map { _ in try bench.client(receiveBuffer: 2048) }
        for client in slow { client.request("GET", "/status") }
        let refused = try eventually { try bench.get("/status").status == 503 }
        #expect(refused)
        #expect(try bench.get("/livez").status == 200)
    }

    /// Asks until it is so, for as long as a slow machine may take.
    private func eventually(_ ask: () throws -> Bool) rethrows -> Bool {
        let deadline = MonotonicInstant.now.advanced(by: .seconds(30))
        while MonotonicInstant.now < deadline { if try ask() { return true } }
        return false
    }
}
