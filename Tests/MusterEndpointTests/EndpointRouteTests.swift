// SPDX-License-Identifier: Apache-2.0

import CZlib
import MusterMetrics
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("Endpoint: routes")
struct EndpointRouteTests {
    // MARK: Metrics

    @Test("Metrics come in the format asked for, with a type that strict scrapers accept")
    func metrics() throws {
        let bench = try EndpointBench()
        let client = try bench.client()
        let text = try client.get("/metrics")
        #expect(text.status == 200)
        #expect(text.text == "text all 1\n")
        #expect(text.header("content-type") == "text/plain; version=0.0.4; charset=utf-8")
        #expect(text.header("vary") == "Accept, Accept-Encoding")
        #expect(text.header("x-content-type-options") == "nosniff")
        #expect(text.header("content-encoding") == nil)
        let open = try client.get("/metrics", ["Accept: application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.2"])
        #expect(open.text == "openMetrics all 2\n")
        #expect(open.header("content-type") == "application/openmetrics-text; version=1.0.0; charset=utf-8")
        let long = try client.get("/metrics", ["Accept: " + String(repeating: "a/b,", count: 1000)])
        #expect(long.header("content-type") == "text/plain; version=0.0.4; charset=utf-8")
    }

    @Test(
        "name[] chooses families, once or several times, escaped or not",
        arguments: [
            ("?name[]=a", "a"), ("?name%5B%5D=a&name[]=b", "a,b"), ("?name[]=b&name[]=a&name[]=b", "a,b"),
            ("?name[]", "all"), ("?name[]=", ""), ("?name=a&x[]=b&&=", "all"), ("?name[]=a%20b", "a b"),
        ])
    func names(query: String, expected: String) throws {
        #expect(try EndpointBench().get("/metrics" + query).text == "text \(expected) 1\n")
    }

    @Test("gzip gives the same bytes, compressed", arguments: [0, 1, 100, 70_000, 3_000_000])
    func gzip(size: Int) throws {
        let bench = try EndpointBench(padding: size)
        let client = try bench.client()
        let packed = try client.get("/metrics", ["Accept-Encoding: gzip"])
        #expect(packed.header("content-encoding") == "gzip")
        #expect(packed.header("vary") == "Accept, Accept-Encoding")
        let plain = try inflate(packed.body)
        #expect(String(decoding: plain, as: UTF8.self) == "text all 1\n" + String(repeating: "x", count: size))
        let direct = try client.get("/metrics", ["Accept-Encoding: gzip;q=0"])
        #expect(direct.header("content-encoding") == nil)
        #expect(direct.body.count == plain.count)
        // The next body is smaller or larger than the buffers that are used again.
        #expect(try inflate(client.get("/metrics?name[]=abc", ["Accept-Encoding: gzip"]).body).count == size + 11)
    }

    @Test("Without compression there is none")
    func uncompressed() throws {
        let bench = try EndpointBench { $0.compressionLevel = 0 }
        let response = try bench.get("/metrics", ["Accept-Encoding: gzip"])
        #expect(response.header("content-encoding") == nil)
        #expect(response.text == "text all 1\n")
    }

    private struct InflateError: Error {
        let code: Int32
    }

    private func inflate(_ bytes: [UInt8]) throws -> [UInt8] {
        var result = [UInt8](repeating: 0, count: 4_000_000)
        var input = bytes
        var stream = z_stream()
        inflateInit2_(&stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        defer { inflateEnd(&stream) }
        let code = input.withUnsafeMutableBufferPointer { source in
            result.withUnsafeMutableBufferPointer { target in
                stream.next_in = source.baseAddress
                stream.avail_in = UInt32(source.count)
                stream.next_out = target.baseAddress
                stream.avail_out = UInt32(target.count)
                return CZlib.inflate(&stream, Z_FINISH)
            }
        }
        guard code == Z_STREAM_END, stream.avail_in == 0 else { throw InflateError(code: code) }
        return Array(result.prefix(Int(stream.total_out)))
    }

    @Test(
        "HEAD has the headers of GET and no body",
        arguments: ["/metrics", "/livez", "/nothing", "/readyz?verbose"])
    func head(path: String) throws {
        let bench = try EndpointBench()
        let client = try bench.client()
        client.request("HEAD", path)
        let head = try client.response(hasBody: false)
        // A body would stand in the way of this response.
        let get = try client.get(path)
        #expect(head.status == get.status)
        for (name, value) in get.headers where name != "date" { #expect(head.header(name) == value) }
        #expect(Int(head.header("content-length") ?? "") == get.body.count)
    }

    @Test("Requests that one pass finds share a rendering; later ones never do")
    func coalescing() throws {
        let bench = try EndpointBench()
        let client = try bench.client()
        // One write, so the requests are all there when the first is read.
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        client.send(request + request)
        let first = try client.response().text
        let second = try client.response().text
        #expect(first == "text all 1\n")
        #expect(second == first || second == "text all 2\n")
        for _ in 0..<20 {
            let before = bench.renderer.count
            #expect(try client.get("/metrics").text == "text all \(before + 1)\n")
            #expect(try bench.get("/metrics").text == "text all \(before + 2)\n")
        }
    }

    // MARK: Health

    @Test(
        "The health routes answer as kube-apiserver's do",
        arguments: [
            ("/livez", 200, "ok"), ("/livez?verbose", 200, "[+]good ok\nlivez check passed\n"),
            ("/livez?verbose=false", 200, "[+]good ok\nlivez check passed\n"),
            ("/healthz", 200, "ok"), ("/healthz?verbose", 200, "[+]good ok\nhealthz check passed\n"),
            ("/readyz", 503, "[+]good ok\n[-]bad failed: reason withheld\n[+]odd ok\nreadyz check failed\n"),
            (
                "/readyz?verbose", 503,
                "[+]good ok\n[-]bad failed: out of order\n[+]odd ok (warning: strange)\nreadyz check failed\n"
            ),
            ("/readyz?exclude=bad", 200, "ok"),
            (
                "/readyz?exclude=bad&exclude=good&exclude=nope&verbose", 200,
                "[+]good excluded: ok\n[+]bad excluded: ok\n[+]odd ok (warning: strange)\n"
                    + "warn: some health checks cannot be excluded: no matches for \"nope\"\nreadyz check passed\n"
            ),
            ("/readyz?exclude=ba%64", 200, "ok"),
            ("/readyz?exclude", 503, "[+]good ok\n[-]bad failed: reason withheld\n[+]odd ok\nreadyz check failed\n"),
            ("/readyz/good", 200, "ok"), ("/readyz/bad", 503, "[-]bad failed: reason withheld\nreadyz check failed\n"),
            ("/readyz/bad?verbose", 503, "[-]bad failed: out of order\nreadyz check failed\n"),
            ("/readyz/bad?exclude=bad", 503, "[-]bad failed: reason withheld\nreadyz check failed\n"),
            ("/readyz/nope", 404, "not found\n"), ("/livez/bad", 404, "not found\n"), ("/livez/", 404, "not found\n"),
            ("/livez/good/more", 404, "not found\n"), ("/livezz", 404, "not found\n"),
            ("/startupz", 200, "ok"), ("/startupz/ping", 200, "ok"),
        ])
    func health(path: String, status: Int, body: String) throws {
        let bench = try EndpointBench()
        try bench.health.register(.probe("good", .live, .ready) { .pass })
        try bench.health.register(.probe("bad", .ready) { .fail("out of order") })
        try bench.health.register(.asynchronous("odd", .ready) {})
        bench.health.unregister("odd")
        try bench.health.register(.probe("odd", .ready) { .warn("strange") })
        let response = try bench.get(path)
        #expect(response.status == status)
        #expect(response.text == body)
        #expect(response.header("content-type") == "text/plain; charset=utf-8")
        #expect(response.header("x-content-type-options") == "nosniff")
        if status != 404 { #expect(response.header("cache-control") == "no-cache") }
    }

    @Test("health+json is given to those who prefer it")
    func json() throws {
        let bench = try EndpointBench()
        try bench.health.register(.probe("bad", .ready) { .fail("a \"quoted\" reason") })
        let response = try bench.get("/readyz?verbose", ["Accept: application/health+json"])
        #expect(response.status == 503)
        #expect(response.header("content-type") == "application/health+json")
        #expect(response.header("vary") == "Accept")
        #expect(response.text.hasPrefix(#"{"status":"fail","checks":{"bad":[{"status":"fail","time":"20"#))
        #expect(response.text.hasSuffix(#"Z","output":"a \"quoted\" reason"}]}}"# + "\n"))
        let passing = try bench.get("/livez", ["Accept: application/json, text/plain;q=0.5"])
        #expect(passing.header("content-type") == "application/json")
        #expect(passing.text.hasPrefix(#"{"status":"pass","checks":{"ping":[{"status":"pass","time":"#))
        #expect(try bench.get("/livez", ["Accept: */*"]).text == "ok")
    }

    @Test("A request waits for an asynchronous check, and others are served meanwhile")
    func suspended() throws {
        let bench = try EndpointBench()
        let door = Door()
        try bench.health.register(.asynchronous("db", .ready, timeout: .seconds(600)) { await door.pass() })
        let waiting = try bench.client()
        waiting.request("GET", "/readyz?verbose")
        let another = try bench.client()
        another.request("GET", "/readyz/db")
        #expect(door.arrival.wait())
        for _ in 0..<10 { #expect(try bench.get("/livez").text == "ok") }
        door.open()
        #expect(try waiting.response().text == "[+]db ok\nreadyz check passed\n")
        #expect(try another.response().text == "ok")
        // The connection is as good as before.
        #expect(try waiting.get("/readyz").text == "ok")
    }

    @Test("A check that hangs costs a probe its time-out and no more")
    func hung() throws {
        let clock = ManualClock()
        let bench = try EndpointBench(clock: clock)
        let door = Door()
        try bench.health.register(.asynchronous("db", .live, timeout: .seconds(1)) { await door.pass() })
        let client = try bench.client()
        client.request("GET", "/livez?verbose")
        #expect(clock.sleep.wait())
        clock.advance(by: .seconds(1))
        let response = try client.response()
        #expect(response.status == 503)
        #expect(response.text == "[-]db failed: timed out after 1s\nlivez check failed\n")
        #expect(try client.get("/livez").status == 503)
        door.open()
    }

    @Test("The time-out needs neither the runner nor a clock of its own")
    func hungForReal() throws {
        let bench = try EndpointBench()
        let door = Door()
        try bench.health.register(.asynchronous("db", .live, timeout: .milliseconds(20)) { await door.pass() })
        #expect(try bench.get("/livez?verbose").text == "[-]db failed: timed out after 20ms\nlivez check failed\n")
        door.open()
    }

    @Test("A client that goes away while its request waits harms nobody")
    func abandoned() throws {
        let bench = try EndpointBench()
        let door = Door()
        try bench.health.register(.asynchronous("db", .ready, timeout: .seconds(600)) { await door.pass() })
        for _ in 0..<5 { try bench.client().request("GET", "/readyz") }
        #expect(door.arrival.wait())
        door.open()
        #expect(try bench.get("/readyz").text == "ok")
    }

    @Test("Too many exclusions are refused")
    func exclusions() throws {
        let bench = try EndpointBench()
        let most = (0..<100).map { "exclude=c\($0)" }.joined(separator: "&")
        #expect(try bench.get("/livez?\(most)&exclude=c5").status == 200)
        let refused = try bench.get("/livez?\(most)&exclude=x")
        #expect(refused.status == 400)
        #expect(refused.text == "at most 100 checks can be excluded\n")
    }

    // MARK: The rest

    @Test(
        "What is not there is not found, and nothing is told about what is",
        arguments: [
            "/nothing", "/metrics/", "//metrics", "/Metrics", "/metrics%00", "/../metrics", "/%2e%2e/etc/passwd",
            "/favicon.ico", "/%ff%fe", "/livez%2fgood",
        ])
    func notFound(path: String) throws {
        let response = try EndpointBench().get(path)
        #expect([404, 400].contains(response.status) || path == "/metrics%00" || path == "/livez%2fgood")
        if response.status == 404 { #expect(response.text == "not found\n") }
    }

    @Test(
        "Only GET and HEAD are served", arguments: ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO", "get"])
    func methods(method: String) throws {
        let bench = try EndpointBench()
        let client = try bench.client()
        client.request(method, "/metrics", ["Content-Length: 0"])
        let response = try client.response()
        #expect(response.status == 405)
        #expect(response.header("allow") == "GET, HEAD")
        #expect(bench.renderer.count == 0)
        #expect(try client.get("/livez").text == "ok")
    }

    @Test("A check of one's own may look at the endpoint that asks it")
    func curious() throws {
        let bench = try EndpointBench()
        let endpoint = bench.endpoint
        try bench.health.register(.probe("self", .live) { endpoint.address == nil ? .fail("deaf") : .pass })
        #expect(try bench.get("/livez").text == "ok")
    }

    @Test("Requests and the checks' state are exported")
    func measured() throws {
        let writer = try ArenaWriter.create(name: "test", capacity: 1 << 20)
        let registry = MetricRegistry(arena: writer, logger: RecordedLog().logger)
        let reader = try ArenaReader(descriptor: writer.descriptor.rawValue)
        let exposition = Exposition(sources: [ArenaSource(reader: reader, constantLabels: [])])
        let health = HealthRegistry(runner: { _, _ in }, logger: RecordedLog().logger)
        let result = Box<HealthResult>(.fail("no"))
        try health.register(.probe("db", .ready) { result.value })
        let endpoint = Endpoint(
            configuration: EndpointConfiguration(address: .tcp(host: "127.0.0.1", port: 0)), metrics: exposition,
            health: health, registry: registry, logger: RecordedLog().logger)
        try endpoint.start()
        defer { endpoint.stop() }
        let client = try TestClient(#require(endpoint.address))
        #expect(
            try client.get("/metrics").text.contains(
                "muster_endpoint_requests_total{route=\"/metrics\",code=\"200\"} 0\n"))
        #expect(try client.get("/readyz").status == 503)
        var text = try client.get("/metrics").text
        #expect(text.contains("muster_health_check_status{check=\"db\",level=\"ready\"} 0\n"))
        #expect(text.contains("muster_endpoint_requests_total{route=\"/readyz\",code=\"503\"} 1\n"))
        #expect(text.contains("muster_endpoint_requests_total{route=\"/metrics\",code=\"200\"} 1\n"))
        #expect(text.contains("muster_endpoint_connections_closed_total{reason=\"idle\"} 0\n"))
        // A scrape does not know yet how long it takes; the one before it does.
        #expect(text.contains("muster_scrape_duration_seconds_count 1\n"))
        result.value = .warn("slow")
        #expect(try client.get("/readyz").status == 200)
        text = try client.get("/metrics").text
        #expect(text.contains("muster_health_check_status{check=\"db\",level=\"ready\"} 1\n"))
    }
}
