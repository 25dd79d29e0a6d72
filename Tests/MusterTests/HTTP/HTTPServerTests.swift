// SPDX-License-Identifier: Apache-2.0

import Glibc
import HTTPTypes
import MusterExecution
import MusterMetrics
import MusterPlatform
import MusterTestKit
import MusterTestSupport
import Testing

@testable import Muster

/// The server as its users see it: routes in, bytes out. One test at a time: their clients block the threads that all
/// tests share.
@Suite("HTTP server", .serialized)
struct HTTPServerTests {
    // MARK: Requests and responses

    @Test("A route answers with its parameters, a query and headers", arguments: bothBackends)
    func route(type: BackendType) async throws {
        try await Bench.with(type) { routes in
            routes.get("/hello/{name}") { request in
                var response = HTTPServer.Response.text(
                    "\(request.parameters["name"] ?? "") \(request.query("x") ?? "-") \(request.head.authority ?? "")")
                response.head.headerFields[.cacheControl] = request.head.headerFields[.accept]
                return response
            }
        } body: { bench in
            let client = try bench.client()
            let answer = try client.get("/hello/W%C3%B6rld?y=1&x=a+b%26", ["Accept: x/y"])
            #expect(answer.status == 200)
            #expect(answer.text == "Wörld a b& test")
            #expect(answer.header("cache-control") == "x/y")
            #expect(answer.header("content-type") == "text/plain; charset=utf-8")
            #expect(answer.header("date") != nil)
            // The connection is kept.
            #expect(try client.get("/hello/2").text == "2 - test")
        }
    }

    @Test(
        "HEAD has the length of GET and no body; other methods and paths have their own status", arguments: bothBackends
    )
    func methods(type: BackendType) async throws {
        try await Bench.with(type) { routes in
            routes.get("/a") { _ in .text("12345") }
            routes.put("/a") { _ in HTTPServer.Response(status: .noContent) }
        } body: { bench in
            let client = try bench.client()
            client.request("HEAD", "/a")
            let head = try client.response(hasBody: false)
            #expect(head.status == 200)
            #expect(head.header("content-length") == "5")
            client.request("PUT", "/a", ["Content-Length: 0"])
            #expect(try client.response(hasBody: false).status == 204)
            client.request("DELETE", "/a")
            let wrong = try client.response()
            #expect(wrong.status == 405)
            #expect(wrong.header("allow") == "GET, HEAD, PUT")
            client.request("OPTIONS", "*")
            let all = try client.response(hasBody: false)
            #expect(all.status == 204)
            #expect(all.header("allow") == "GET, HEAD, PUT")
            #expect(try client.get("/b").status == 404)
            #expect(try client.get("/a/").status == 404)
        }
    }

    @Test("Requests that come together are answered in their order", arguments: bothBackends)
    func pipelining(type: BackendType) async throws {
        try await Bench.with(type) { routes in
            routes.get("/{n}") { request in
                // The first ones take longest.
                for _ in 0..<(20 - (Int(request.parameters["n"] ?? "") ?? 0)) { await Task.yield() }
                return .text(request.parameters["n"] ?? "")
            }
        } body: { bench in
            let client = try bench.client()
            client.send((0..<20).map { "GET /\($0) HTTP/1.1\r\nHost: x\r\n\r\n" }.joined())
            for number in 0..<20 { #expect(try client.response().text == "\(number)") }
        }
    }

    @Test("Errors of handlers are answered, and logged if nobody means them", arguments: bothBackends)
    func errors(type: BackendType) async throws {
        try await Bench.with(type) { routes in
            routes.get("/meant") { _ in throw HTTPServer.Failure(.conflict, "taken") }
            routes.get("/not") { _ in throw TestFailure("no") }
            routes.get("/interim") { _ in HTTPServer.Response(status: .earlyHints) }
        } body: { bench in
            let client = try bench.client()
            let meant = try client.get("/meant")
            #expect(meant.status == 409)
            #expect(meant.text == "taken\n")
            let not = try client.get("/not")
            #expect(not.status == 500)
            #expect(not.text == "internal error\n")
            #expect(try client.get("/interim").status == 500)
        }
    }

    // MARK: Bodies

    private static func echo(_ routes: inout HTTPRouter) {
        routes.post("/echo") { request in
            HTTPServer.Response(body: .bytes(try await request.body.collect()))
        }
        routes.post("/stream") { request in HTTPServer.Response(body: .parts(request.body)) }
        routes.post("/ignore") { _ in .text("ignored") }
        routes.post("/count") { request in
            var count = 0
            for try await part in request.body { count += part.count }
            return .text("\(count)")
        }
    }

    @Test("Bodies of a length and in chunks, read whole and as they come", arguments: bothBackends)
    func bodies(type: BackendType) async throws {
        try await Bench.with(type, routes: Self.echo) { bench in
            let client = try bench.client()
            for path in ["/echo", "/stream"] {
                client.request("POST", path, ["Content-Length: 5"])
                client.send("hello")
                #expect(try client.response().text == "hello")
                client.request("POST", path, ["Transfer-Encoding: chunked"])
                client.send("3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n")
                #expect(try client.response().text == "abcdefg")
                client.request("POST", path, ["Content-Length: 0"])
                #expect(try client.response().text == "")
            }
            // Not read: the connection is kept all the same.
            client.request("POST", "/ignore", ["Content-Length: 5"])
            client.send("hello")
            #expect(try client.response().text == "ignored")
            client.request("POST", "/ignore", ["Transfer-Encoding: chunked"])
            client.send("5\r\nhello\r\n0\r\n\r\n")
            #expect(try client.response().text == "ignored")
        }
    }

    @Test("Large bodies come and go in parts", arguments: bothBackends)
    func largeBody(type: BackendType) async throws {
        var limits = HTTPServer.Limits()
        limits.bodySize = 64 << 20
        try await Bench.with(type, limits: limits, routes: Self.echo) { bench in
            let size = 20 << 20
            let client = try bench.client()
            client.request("POST", "/count", ["Content-Length: \(size)"])
            client.send([UInt8](repeating: 7, count: size))
            #expect(try client.response().text == "\(size)")
            client.request("POST", "/stream", ["Content-Length: \(size)"])
            client.send([UInt8](repeating: 8, count: size))
            let answer = try client.response()
            #expect(answer.body.count == size)
            #expect(answer.body.allSatisfy { $0 == 8 })
        }
    }

    @Test("A body that is too long is refused: announced, or in chunks", arguments: bothBackends)
    func tooLarge(type: BackendType) async throws {
        var limits = HTTPServer.Limits()
        limits.bodySize = 1000
        try await Bench.with(type, limits: limits, routes: Self.echo) { bench in
            for path in ["/echo", "/count"] {
                let client = try bench.client()
                client.request("POST", path, ["Content-Length: 1001"])
                client.send(String(repeating: "x", count: 1001))
                let answer = try client.response()
                #expect(answer.status == 413)
                #expect(answer.text == "content too large: a request's body may have 1000 bytes\n")
                let other = try bench.client()
                other.request("POST", path, ["Transfer-Encoding: chunked"])
                for _ in 0..<11 { other.send("64\r\n" + String(repeating: "x", count: 100) + "\r\n") }
                #expect(try other.response().status == 413)
                #expect(try other.rest() == "")
            }
        }
    }

    @Test("Leave to send a body is given when it is read, and not to one that is refused", arguments: bothBackends)
    func expectation(type: BackendType) async throws {
        try await Bench.with(type, routes: Self.echo) { bench in
            let client = try bench.client()
            client.request("POST", "/echo", ["Content-Length: 5", "Expect: 100-continue"])
            #expect(try client.response(hasBody: false).status == 100)
            client.send("hello")
            #expect(try client.response().text == "hello")
            client.request("POST", "/ignore", ["Content-Length: 5", "Expect: 100-continue"])
            let answer = try client.response()
            #expect(answer.text == "ignored")
            #expect(answer.header("connection") == "close")
            let other = try bench.client()
            other.request("POST", "/echo", ["Content-Length: 5000000", "Expect: 100-continue"])
            #expect(try other.response().status == 413)
        }
    }

    @Test("Responses in parts, of a length or not, and files", arguments: bothBackends)
    func responses(type: BackendType) async throws {
        let folder = try TemporaryFolder()
        let content = String(repeating: "0123456789", count: 30_000)
        let file = try folder.write(content, to: "file")
        try await Bench.with(type) { routes in
            let parts = AsyncStream<[UInt8]>.self
            routes.get("/chunks") { _ in
                HTTPServer.Response(
                    body: .parts(
                        parts.init { stream in
                            for number in 0..<5 { stream.yield(Array("\(number)".utf8)) }
                            stream.finish()
                        }))
            }
            routes.get("/length") { request in
                HTTPServer.Response(
                    body: .parts(
                        parts.init { stream in
                            for _ in 0..<3 { stream.yield([0x61, 0x62]) }
                            stream.finish()
                        }, length: Int(request.query("length") ?? "")))
            }
            routes.get("/file") { _ in HTTPServer.Response(body: try .file(at: file)) }
            routes.get("/none") { _ in HTTPServer.Response(body: try .file(at: file + "x")) }
            routes.get("/folder") { _ in HTTPServer.Response(body: try .file(at: "/")) }
        } body: { bench in
            let client = try bench.client()
            #expect(try client.get("/chunks").text == "01234")
            #expect(try client.get("/length?length=6").text == "ababab")
            #expect(try client.get("/file").text == content)
            client.request("HEAD", "/file")
            #expect(try client.response(hasBody: false).header("content-length") == "300000")
            let other = try bench.client()
            other.request("HEAD", "/chunks")
            #expect(try other.rest().hasPrefix("HTTP/1.1 200 "))
            #expect(try client.get("/none").status == 404)
            #expect(try client.get("/folder").status == 404)
            // With a body that nobody reads.
            let unread = try bench.client()
            unread.request("HEAD", "/chunks", ["Content-Length: 5"])
            unread.send("hello")
            #expect(try unread.rest().hasPrefix("HTTP/1.1 200 "))
            // A client of HTTP/1.0 knows the end by the end of the connection.
            let old = try bench.client()
            old.send("GET /chunks HTTP/1.0\r\n\r\n")
            #expect(try old.rest().hasSuffix("\r\n\r\n01234"))
            // More, or less, than was announced must not look whole.
            for length in [5, 7] {
                let broken = try bench.client()
                broken.request("GET", "/length?length=\(length)")
                let text = try broken.rest()
                #expect(text.contains("Content-Length: \(length)"))
                #expect(text.split(separator: "\r\n\r\n").dropFirst().joined().count < length)
            }
        }
    }

    // MARK: Limits

    @Test("Time limits have their own answers", arguments: bothBackends)
    func timeouts(type: BackendType) async throws {
        var limits = HTTPServer.Limits()
        limits.idleTimeout = .milliseconds(200)
        limits.bodyTimeout = .milliseconds(200)
        limits.handlerTimeout = .milliseconds(200)
        let cancelled = Recorder<Void>()
        try await Bench.with(type, limits: limits) { routes in
            routes.post("/count") { request in .text("\(try await request.body.collect().count)") }
            routes.get("/hang") { _ in
                do {
                    try await Task.sleep(for: .seconds(600))
                } catch {
                    cancelled.append(())
                    throw error
                }
                return .text("never")
            }
        } body: { bench in
            let silent = try bench.client()
            #expect(try silent.rest() == "")
            let slow = try bench.client()
            slow.send("GET /count HTTP/1.1\r\nHost: x\r\n")
            #expect(try slow.rest().hasPrefix("HTTP/1.1 408 "))
            let body = try bench.client()
            body.request("POST", "/count", ["Content-Length: 10"])
            body.send("12345")
            #expect(try body.rest().hasPrefix("HTTP/1.1 408 "))
            let handler = try bench.client()
            #expect(try handler.get("/hang").status == 503)
            _ = try await cancelled.first(1)
        }
    }

    @Test("Headers and targets that are too long", arguments: bothBackends)
    func tooLong(type: BackendType) async throws {
        try await Bench.with(type, routes: Self.echo) { bench in
            let header = try bench.client()
            header.request("GET", "/", ["X: " + String(repeating: "x", count: 20_000)])
            #expect([413, 431].contains(try header.response().status))
            let target = try bench.client()
            target.request("GET", "/" + String(repeating: "x", count: 20_000))
            #expect(try target.response().status == 414)
        }
    }

    // MARK: HTTP/1.1

    @Test("Targets, framing and bodies", arguments: bothBackends)
    func conformance(type: BackendType) async throws {
        try await Bench.with(type) { routes in
            routes.get("/there") { _ in .text("ok") }
            routes.post("/there") { request in .text("\(try await request.body.collect().count)") }
        } body: { bench in
            for (request, status) in HTTPConformance.table(target: "/there") + HTTPConformance.bodies(target: "/there")
            {
                let client = try bench.client()
                client.send(request)
                if status == 200 {
                    #expect((try? client.response())?.status == 200, "\(request)")
                    continue
                }
                // Once, and then nothing more is taken for a request.
                client.send("GET /there HTTP/1.1\r\nHost: x\r\n\r\n")
                let answer = (try? client.rest()) ?? "no end"
                #expect(
                    answer.hasPrefix("HTTP/1.1 \(status) ") || answer.hasPrefix("HTTP/1.0 \(status) "),
                    "\(request): \(answer)")
                #expect(answer.split(separator: "HTTP/1.").count == 1, "\(request): \(answer)")
            }
            #expect(try bench.client().get("/there").text == "ok")
        }
    }

    @Test("Requests are counted by their answers, also by those that no handler gives", arguments: bothBackends)
    func counts(type: BackendType) async throws {
        try await Bench.with(type, routes: Self.echo) { bench in
            func counted(_ method: String, _ route: String, _ status: Int) async throws {
                // The client has its answer before the server takes note of it.
                _ = try await eventually("\(method) \(route) \(status)") {
                    bench.backend.metrics.value(
                        "http_server_requests_total", ["method": method, "route": route, "status": "\(status)"]) == 1
                        ? true : nil
                }
            }
            let client = try bench.client()
            client.request("POST", "/echo", ["Content-Length: 5"])
            client.send("hello")
            #expect(try client.response().status == 200)
            try await counted("POST", "/echo", 200)
            #expect(try client.get("/none").status == 404)
            try await counted("GET", "unmatched", 404)
            let broken = try bench.client()
            broken.request("POST", "/echo", ["Transfer-Encoding: chunked"])
            broken.send("5\r\nhello\r\nx\r\n")
            #expect(try broken.response().status == 400)
            try await counted("POST", "/echo", 400)
            var leaving: TestClient? = try bench.client()
            leaving?.request("POST", "/echo", ["Content-Length: 5"])
            leaving?.send("hel")
            // Together with the last bytes, as well as after them.
            leaving = nil
            try await counted("POST", "/echo", 0)
            let sum = bench.backend.metrics.value("http_server_request_body_bytes_total", ["route": "/echo"])
            #expect(sum >= 5)
            try await counted("POST", "/echo", 200)
        }
    }

    @Test("Whatever comes is answered by the rules or ended, and nothing hangs", arguments: bothBackends, 0..<2)
    func fuzz(type: BackendType, seed: Int) async throws {
        var limits = HTTPServer.Limits()
        limits.idleTimeout = .milliseconds(10)
        limits.bodyTimeout = .milliseconds(10)
        try await Bench.with(type, limits: limits) { routes in
            routes.get("/livez") { _ in .text("ok") }
            routes.get("/metrics") { _ in
                await Task.yield()
                return HTTPServer.Response(
                    body: .parts(
                        AsyncStream {
                            $0.yield([0x61]); $0.finish()
                        }))
            }
            routes.post("/status") { request in .text("\(try await request.body.collect().count)") }
            routes.put("/") { request in HTTPServer.Response(body: .parts(request.body)) }
        } body: { bench in
            var generator = SplitMix64(seed: UInt64(seed))
            let known: Set<Int> = [100, 200, 400, 404, 405, 408, 413, 414, 417, 431, 501, 503, 505]
            for round in 0..<Scale.of(150) {
                let bytes = RequestFuzzer.requests(&generator)
                let client = try bench.client()
                client.send(bytes)
                if Bool.random(using: &generator) {
                    client.send("GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                }
                shutdown(client.descriptor, Int32(SHUT_WR))
                // Ends after 30 s by an error.
                let answer = try client.rest()
                #expect(answer.isEmpty || answer.hasPrefix("HTTP/1."))
                for head in answer.split(separator: "HTTP/1.") where head.hasPrefix("1 ") || head.hasPrefix("0 ") {
                    guard let status = Int(head.dropFirst(2).prefix(3)), !known.contains(status) else { continue }
                    Issue.record("seed \(seed), round \(round): \(status) to \(bytes.prefix(500))")
                }
            }
            #expect(try bench.client().get("/livez").text == "ok")
        }
    }

    // MARK: Stopping

    @Test("A graceful stop answers what has come and closes what is silent", arguments: bothBackends)
    func drain(type: BackendType) async throws {
        let gate = Completion<Void>()
        let began = Recorder<Void>()
        try await Bench.with(type) { routes in
            routes.get("/wait") { _ in
                began.append(())
                _ = try await gate.wait()
                return .text("done")
            }
        } body: { bench in
            let busy = try bench.client()
            busy.request("GET", "/wait")
            _ = try await began.first(1)
            let idle = try bench.client()
            #expect(try idle.get("/").status == 404)
            // On the backend: the clients block threads of the global pool.
            let stop = try bench.backend.engine.spawn(name: "stop") {
                try await bench.server.stop(graceful: true, until: .now.advanced(by: .seconds(120)))
            }
            #expect(try idle.rest() == "")
            gate.complete(with: ())
            let answer = try busy.response()
            #expect(answer.text == "done")
            #expect(answer.header("connection") == "close")
            #expect(try busy.rest() == "")
            try await stop.result()
            // It can be started again.
            try await bench.server.start()
            #expect(try bench.client().get("/wait").text == "done")
        }
    }

    @Test("Once a graceful stop has begun, new connections are refused if nobody else listens", arguments: bothBackends)
    func refusal(type: BackendType) async throws {
        let gate = Completion<Void>()
        let began = Recorder<Void>()
        var limits = HTTPServer.Limits()
        limits.idleGrace = .seconds(600)
        try await TestBackend.with(type) { backend in
            let socket = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "address")
            let server = HTTPServer(socket: socket, limits: limits, backend: backend) { routes in
                routes.get("/wait") { _ in
                    began.append(())
                    _ = try await gate.wait()
                    return .text("done")
                }
            }
            try await server.start()
            let idle = try TestClient(socket.address)
            let busy = try TestClient(socket.address)
            busy.request("GET", "/wait")
            _ = try await began.first(1)
            // As a launcher does when it stops.
            socket.closeDescriptor()
            let stop = try backend.engine.spawn(name: "stop") {
                try await server.stop(graceful: true, until: .now.advanced(by: .seconds(120)))
            }
            while (try? TestClient(socket.address)) != nil { await Task.yield() }
            gate.complete(with: ())
            #expect(try busy.response().text == "done")
            // It is kept for as long as the limits say.
            #expect(try idle.get("/wait").text == "done")
            #expect(try idle.rest() == "")
            try await stop.result()
        }
    }

    @Test("A stop at its deadline, or at once, cancels handlers and ends connections", arguments: bothBackends)
    func hardStop(type: BackendType) async throws {
        for graceful in [true, false] {
            let began = Recorder<Void>()
            let cancelled = Recorder<Void>()
            try await Bench.with(type) { routes in
                routes.get("/wait") { _ in
                    began.append(())
                    do {
                        try await Task.sleep(for: .seconds(600))
                    } catch {
                        cancelled.append(())
                    }
                    return .text("done")
                }
            } body: { bench in
                let busy = try bench.client()
                busy.request("GET", "/wait")
                _ = try await began.first(1)
                do {
                    try await bench.server.stop(graceful: graceful, until: .now.advanced(by: .milliseconds(50)))
                    #expect(!graceful)
                } catch {
                    #expect(graceful && error is TimeLimitExceeded)
                }
                #expect(try busy.rest() == "")
                _ = try await cancelled.first(1)
            }
        }
    }

    @Test("Two graceful stops at a time wait for the same end", arguments: bothBackends)
    func twoStops(type: BackendType) async throws {
        let gate = Completion<Void>()
        let began = Recorder<Void>()
        try await Bench.with(type) { routes in
            routes.get("/wait") { _ in
                began.append(())
                _ = try await gate.wait()
                return .text("done")
            }
        } body: { bench in
            let busy = try bench.client()
            busy.request("GET", "/wait")
            _ = try await began.first(1)
            let stops = try (0..<2).map { number in
                try bench.backend.engine.spawn(name: "stop-\(number)") {
                    try await bench.server.stop(graceful: true, until: .now.advanced(by: .seconds(120)))
                }
            }
            gate.complete(with: ())
            #expect(try busy.response().text == "done")
            for stop in stops { try await stop.result() }
        }
    }

    @Test("A backend without the component says which ones have it")
    func missingComponent() async throws {
        try await TestBackend.with(.cooperative) { engine in
            let type = BackendType("own")
            let backend = Backend(
                context: BackendContext(type: type), engine: engine.engine,
                components: ComponentRegistry(backend: type, components: [:]))
            let socket = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "address")
            defer { socket.closeDescriptor() }
            let server = HTTPServer(socket: socket, backend: backend) { $0.get("/") { _ in .text("") } }
            let error = await #expect(throws: BackendComponentNotAvailable.self) { try await server.start() }
            #expect(error?.description.contains("it is available in: 'cooperative', 'threading'") == true)
        }
    }

    @Test("Patterns that cannot be used keep the server from starting")
    func badPatterns() async throws {
        for pattern in ["a", "/{}", "/{a}/{a}", "/{a...}/b", "/a{b}"] {
            try await TestBackend.with(.cooperative) { backend in
                let socket = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "address")
                defer { socket.closeDescriptor() }
                let server = HTTPServer(socket: socket, backend: backend) { $0.get(pattern) { _ in .text("") } }
                await #expect(throws: HTTPServerError.self) { try await server.start() }
            }
        }
    }
}

/// A started server with clients.
private struct Bench: Sendable {
    let server: HTTPServer
    let backend: Backend
    let address: ListenAddress

    /// However long other tests keep this one waiting.
    private static var patient: HTTPServer.Limits {
        var limits = HTTPServer.Limits()
        limits.handlerTimeout = nil
        return limits
    }

    static func with(
        _ type: BackendType, limits: HTTPServer.Limits = Self.patient, routes: (inout HTTPRouter) -> Void,
        body: (Bench) async throws -> Void
    ) async throws {
        try await TestBackend.with(type) { backend in
            let socket = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "address")
            defer { socket.closeDescriptor() }
            let server = HTTPServer(socket: socket, limits: limits, backend: backend, routes: routes)
            try await server.start()
            do {
                try await body(Bench(server: server, backend: backend, address: socket.address))
                try await server.stop(graceful: false, until: nil)
            } catch {
                try? await server.stop(graceful: false, until: nil)
                throw error
            }
        }
    }

    func client() throws -> TestClient { try TestClient(address) }
}
