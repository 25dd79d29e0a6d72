// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterMetrics
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("Endpoint: limits and rude clients")
struct EndpointLimitTests {
    @Test(
        "A request body is refused, however it is announced",
        arguments: [
            "Content-Length: 5\r\n\r\nhello", "Content-Length: 1000000000\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        ])
    func body(rest: String) throws {
        let bench = try EndpointBench()
        for (method, status) in [("GET", 413), ("POST", 405)] {
            let client = try bench.client()
            client.send("\(method) /metrics HTTP/1.1\r\nHost: x\r\n\(rest)")
            let response = try client.response()
            #expect(response.status == status)
            #expect(response.header("connection") == "close")
            #expect(try client.rest() == "")
        }
        #expect(bench.renderer.count == 0)
        #expect(try bench.get("/livez").text == "ok")
    }

    @Test("A line too long is refused with 414, headers too long with 431")
    func tooLong() throws {
        let bench = try EndpointBench { $0.requestSizeLimit = 4096 }
        let long = String(repeating: "a", count: 10_000)
        #expect(try bench.get("/" + long).status == 414)
        #expect(try bench.get("/livez?" + long).status == 414)
        #expect(try bench.get("/livez", ["X-Long: " + long]).status == 431)
        #expect(try bench.get("/livez", (0..<500).map { "X-\($0): aaaaaaaaaa" }).status == 431)
        #expect(try bench.get("/livez").text == "ok")
    }

    @Test(
        "Garbage ends its own connection only",
        arguments: [
            "\r\n\r\n\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{0}\u{1}\u{2}\r\n\r\n",
            "GET  /  HTTP/1.1\r\n\r\n",
            "GET /livez HTTP/1.1\r\n\r\n", "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET /%zz%1 HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /livez HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n", "GET /livez HTTP/1.1\r\nHost: x\r\nNoColon\r\n\r\n",
            "GET /livez?%00=%00&&&==&exclude=%ff HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET http://x/livez HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
            "\u{16}\u{3}\u{1}\u{2}\u{0}",
            "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "GET /livez HTTP/1.0\r\n\r\n",
            "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: ;;;,,,\"\"\"q=\r\nAccept-Encoding: ;q=;,\"\r\n\r\n",
        ])
    func garbage(text: String) throws {
        let bench = try EndpointBench { $0.idleTimeout = .milliseconds(100) }
        let client = try bench.client()
        client.send(text)
        shutdown(client.descriptor, Int32(SHUT_WR))
        _ = try client.rest()
        #expect(try bench.get("/livez").text == "ok")
    }

    @Test("1,000 clients that send a byte now and then keep no probe out")
    func trickling() throws {
        let bench = try EndpointBench()
        var clients: [TestClient] = []
        for number in 0..<1000 {
            let client = try bench.client()
            client.send("GET /livez HTTP/1.1\r\nHost: ")
            clients.append(client)
            for other in clients.suffix(50) { other.send("x") }
            if number % 50 == 49 { #expect(try bench.get("/livez").text == "ok") }
        }
        // The last ones are still there; the others have made room, and find their connections ended.
        clients[999].send("\r\n\r\n")
        #expect(try clients[999].response().text == "ok")
        #expect(try clients[0].rest() == "")
    }

    @Test("Requests sent in one go are answered in order")
    func pipelined() throws {
        let bench = try EndpointBench()
        try bench.health.register(.asynchronous("slow", .ready) { await Task.yield() })
        let client = try bench.client()
        let paths = ["/livez?verbose", "/metrics", "/readyz?verbose", "/nothing", "/readyz/slow", "/livez"]
        client.send(paths.map { "GET \($0) HTTP/1.1\r\nHost: x\r\n\r\n" }.joined())
        let bodies = try paths.map { _ in try client.response().text }
        #expect(
            bodies == [
                "[+]ping ok\nlivez check passed\n", "text all 1\n", "[+]slow ok\nreadyz check passed\n", "not found\n",
                "ok", "ok",
            ])
    }

    @Test("A client that ends its side with its requests gets its answers, and then the end")
    func halfClosed() throws {
        let bench = try EndpointBench()
        for count in 1...3 {
            let client = try bench.client()
            client.send(String(repeating: "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", count: count))
            shutdown(client.descriptor, Int32(SHUT_WR))
            for _ in 0..<count { #expect(try client.response().text == "ok") }
            #expect(try client.rest() == "")
        }
    }

    @Test("A request that comes byte by byte is answered")
    func trickled() throws {
        let bench = try EndpointBench()
        let client = try bench.client()
        for byte in "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".utf8 { client.send([byte]) }
        #expect(try client.response().text == "ok")
    }

    @Test(
        "Silent connections up to the limit, of all or of one address, do not keep a probe out",
        arguments: [\.connectionLimit, \.perAddressConnectionLimit]
            as [any WritableKeyPath<EndpointConfiguration, Int> & Sendable])
    func halfOpen(limit: any WritableKeyPath<EndpointConfiguration, Int> & Sendable) throws {
        let bench = try EndpointBench {
            $0[keyPath: limit] = 10
            $0.concurrentScrapeLimit = 5
        }
        var clients: [TestClient] = []
        for number in 0..<30 {
            let client = try bench.client()
            if number.isMultiple(of: 2) { client.send("GET /liv") }
            clients.append(client)
        }
        #expect(try bench.get("/livez").text == "ok")
        // The oldest ones had to go, the youngest are still there.
        #expect(try clients[0].rest() == "")
        #expect(try clients[29].get("/livez").text == "ok")
        #expect(bench.log.messages.count { $0.contains("too many connections to the endpoint") } == 1)
    }

    @Test("Requests that are being answered are not ended for others, who wait for their turn")
    func full() throws {
        let bench = try EndpointBench {
            $0.connectionLimit = 4
            $0.concurrentScrapeLimit = 1
        }
        let door = Door()
        try bench.health.register(.asynchronous("db", .ready, timeout: .seconds(600)) { await door.pass() })
        let waiting = try (0..<4).map { _ in try bench.client() }
        for client in waiting { client.request("GET", "/readyz") }
        #expect(door.arrival.wait())
        let late = try bench.client()
        late.request("GET", "/livez")
        door.open()
        for client in waiting { #expect(try client.response().text == "ok") }
        #expect(try late.response().text == "ok")
    }

    @Test(
        "When all connections are being answered, some more are there for probes, and for nothing else",
        arguments: [\.connectionLimit, \.perAddressConnectionLimit]
            as [any WritableKeyPath<EndpointConfiguration, Int> & Sendable])
    func busy(limit: any WritableKeyPath<EndpointConfiguration, Int> & Sendable) throws {
        let bench = try EndpointBench {
            $0[keyPath: limit] = 2
            $0.concurrentScrapeLimit = 1
        }
        let door = Door()
        try bench.health.register(.asynchronous("db", .ready, timeout: .seconds(600)) { await door.pass() })
        let waiting = try (0..<2).map { _ in try bench.client() }
        for client in waiting { client.request("GET", "/readyz") }
        #expect(door.arrival.wait())
        for _ in 0..<2 * EndpointConfiguration.reservedConnections {
            let probe = try bench.client()
            #expect(try probe.get("/livez").text == "ok")
            #expect(try probe.rest() == "")
            let scrape = try bench.client()
            let refusal = try scrape.get("/metrics")
            #expect(refusal.status == 503)
            #expect(refusal.text.hasPrefix("too many connections (the limit is "))
            #expect(refusal.header("connection") == "close")
            #expect(try scrape.rest() == "")
        }
        // Those who are silent on them make room, too.
        let silent = try (0..<2 * EndpointConfiguration.reservedConnections).map { _ in try bench.client() }
        #expect(try bench.get("/livez").text == "ok")
        #expect(try silent[0].rest() == "")
        // Until they all wait for something.
        let others = try (0..<EndpointConfiguration.reservedConnections).map { _ in
            let client = try bench.client()
            client.request("GET", "/readyz")
            return client
        }
        #expect(try silent[silent.count - 1].rest() == "")
        door.open()
        for client in waiting + others { #expect(try client.response().text == "ok") }
        #expect(try bench.get("/metrics").status == 200)
    }

    @Test(
        "A connection that stays silent is ended",
        arguments: ["", "GET /livez HTTP/1.1\r\nHo", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"])
    func idle(text: String) throws {
        let bench = try EndpointBench { $0.idleTimeout = .milliseconds(50) }
        let client = try bench.client()
        client.send(text)
        // Ends with the connection.
        let answer = try client.rest()
        #expect(answer.hasSuffix("ok") == text.hasSuffix("\r\n\r\n"))
        #expect(try bench.get("/livez").text == "ok")
    }

    @Test("Slow readers keep no probe and no scrape out, and are ended")
    func slowReader() throws {
        let bench = try EndpointBench(padding: 30_000_000) { $0.concurrentScrapeLimit = 2 }
        let slow = try (0..<2).map { _ in try bench.client(receiveBuffer: 4096) }
        for client in slow {
            client.request("GET", "/metrics")
            // The first bytes have come, so the scrape is under way.
            var byte: UInt8 = 0
            #expect(recv(client.descriptor, &byte, 1, Int32(MSG_PEEK)) == 1)
        }
        #expect(try bench.get("/livez").text == "ok")
        var answers: [TestClient.Response] = []
        while answers.last?.status != 200 { answers.append(try bench.get("/metrics")) }
        // None had been reading for long, at first.
        for refused in answers.dropLast() {
            #expect(refused.status == 503)
            #expect(refused.text == "too many scrapes in progress (the limit is 2); try again\n")
            #expect(refused.header("retry-after") == "1")
        }
        // The one that had been reading for longest had to go, the other one goes on.
        #expect(throws: TestClient.Failure.self) { try slow[0].response() }
        #expect(try slow[1].response().body.count > 30_000_000)
    }

    @Test("A slow reader is ended when its time is over")
    func slowReaderAlone() throws {
        let writer = try ArenaWriter.create(name: "test", capacity: 1 << 20)
        let registry = MetricRegistry(arena: writer, logger: RecordedLog().logger)
        let bench = try EndpointBench(padding: 30_000_000, registry: registry) {
            $0.responseTimeout = .milliseconds(500)
        }
        let slow = try bench.client(receiveBuffer: 4096)
        slow.request("GET", "/metrics")
        let exposition = Exposition(sources: [
            ArenaSource(reader: try ArenaReader(descriptor: writer.descriptor.rawValue), constantLabels: [])
        ])
        let line = "muster_endpoint_connections_closed_total{reason=\"slow_reader\"} 1\n"
        var bytes: [UInt8] = []
        while !String(decoding: bytes, as: UTF8.self).contains(line) {
            #expect(try bench.get("/livez").text == "ok")
            bytes = exposition.rendered(.text)
        }
        #expect(throws: TestClient.Failure.self) { try slow.response() }
    }

    @Test("Many clients at once all get their own answers")
    func crowd() throws {
        let bench = try EndpointBench(padding: 50_000)
        try bench.health.register(.asynchronous("db", .ready) { await Task.yield() })
        let clients = try (0..<50).map { _ in try bench.client() }
        for round in 0..<10 {
            for (number, client) in clients.enumerated() {
                client.request("GET", (number + round).isMultiple(of: 2) ? "/metrics?name[]=n\(number % 5)" : "/readyz")
            }
            for (number, client) in clients.enumerated() {
                let response = try client.response()
                if (number + round).isMultiple(of: 2), response.status == 200 {
                    #expect(response.text.hasPrefix("text n\(number % 5) "))
                    #expect(response.body.count > 50_000)
                } else if response.status != 503 {
                    #expect(response.text == "ok")
                }
            }
        }
    }
}
