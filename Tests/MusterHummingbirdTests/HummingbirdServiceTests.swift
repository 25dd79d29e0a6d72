// SPDX-License-Identifier: Apache-2.0

#if Hummingbird
import Hummingbird
import HummingbirdCore
import Logging
import Muster
import MusterExecution
import MusterHummingbird
import MusterLock
import MusterPlatform
import MusterTestKit
import MusterTestSupport
import NIOCore
import ServiceLifecycle
import Testing

@Suite("A Hummingbird application on a shared socket", .timeLimit(.minutes(2)))
struct HummingbirdServiceTests {
    @Test("answers by its router, with the headers of an application, on a kept connection", arguments: bothBackends)
    func answers(type: BackendType) async throws {
        try await RunningService.with(type, application: testApplication) { running in
            let client = try running.connect()
            for _ in 0..<3 {
                let answer = try await client.get("/hello")
                #expect(answer.status == 200)
                #expect(answer.body == "hello")
                #expect(answer.headers["server"] == "test")
                #expect(answer.headers["connection"] == nil)
                let date = try #require(answer.headers["date"])
                #expect(date.wholeMatch(of: /[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 20\d\d \d\d:\d\d:\d\d GMT/) != nil)
            }
            #expect(try await client.get("/missing").status == 404)
            let last = try running.connect()
            try last.send("GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            #expect(try await last.end().lowercased().contains("connection: close\r\n"))
        }
    }

    @Test("is also made of a router alone")
    func routerAlone() async throws {
        let socket = try TestSocket()
        try await TestBackend.with(.cooperative) { backend in
            let service = HummingbirdService(name: "api", socket: socket.socket, backend: backend, router: testRouter)
            try await service.start()
            #expect(try await Client(port: socket.port).get("/hello").body == "hello")
            try await service.stop(graceful: false, until: nil)
        }
    }

    // MARK: Stopping

    @Test("answers what comes on idle connections when it stops, and closes them then", arguments: bothBackends)
    func drain(type: BackendType) async throws {
        try await RunningService.with(type, application: testApplication) { running in
            let (probe, idle, silent) = (try running.connect(), try running.connect(), try running.connect())
            #expect(try await idle.get("/hello").status == 200)
            // The silent one has been accepted before this one.
            #expect(try await probe.get("/hello").status == 200)
            let stop = try await running.beginStop(probe)
            for client in [idle, silent] {
                let answer = try await client.get("/hello")
                #expect(answer.status == 200)
                #expect(answer.headers["connection"] == "close")
                #expect(try await client.end() == "")
            }
            #expect(try await probe.end() == "")
            try await stop.value
        }
    }

    @Test("finishes a request that has half arrived, and a response that is long", arguments: bothBackends)
    func underWay(type: BackendType) async throws {
        try await RunningService.with(type, application: testApplication) { running in
            let (probe, half, slow) = (try running.connect(), try running.connect(), try running.connect())
            try half.send("PUT /length HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nha")
            #expect(try await probe.get("/hello").status == 200)
            let stop = try await running.beginStop(probe)
            try half.send("lf")
            let answer = try await half.answer()
            #expect(answer.body == "4")
            #expect(answer.headers["connection"] == "close")
            try slow.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
            #expect(try await slow.end().utf8.count > largeSize)
            try await stop.value
        }
    }

    @Test("closes idle connections after the grace", arguments: bothBackends)
    func grace(type: BackendType) async throws {
        try await RunningService.with(type, idleGrace: .milliseconds(10), application: testApplication) { running in
            let idle = try running.connect()
            #expect(try await idle.get("/hello").status == 200)
            try await running.service.stop(graceful: true, until: nil)
            #expect(try await idle.end() == "")
        }
    }

    @Test("closes what is left at the deadline", arguments: bothBackends)
    func deadline(type: BackendType) async throws {
        try await RunningService.with(type, application: testApplication) { running in
            let idle = try running.connect()
            #expect(try await idle.get("/hello").status == 200)
            try? await running.service.stop(graceful: true, until: .now.advanced(by: .milliseconds(50)))
            try await running.service.stop(graceful: false, until: nil)
            #expect(try await idle.end() == "")
        }
    }

    @Test("accepts no connection once it stops: another worker does")
    func share() async throws {
        try await RunningService.with(.cooperative, application: testApplication) { running in
            let probe = try running.connect()
            #expect(try await probe.get("/hello").status == 200)
            try await running.beginStop(probe).value
            let late = try running.connect()
            try await TestBackend.with(.cooperative) { backend in
                let other = HummingbirdService(
                    name: "other", socket: running.socket.socket, backend: backend, application: testApplication)
                try await other.start()
                #expect(try await late.get("/hello").status == 200)
                try await other.stop(graceful: false, until: nil)
            }
        }
    }

    // MARK: What an application consists of

    private struct Helper: ServiceLifecycle.Service {
        let begun: Completion<Void>
        let ended: Completion<Void>

        func run() async throws {
            begun.complete(with: ())
            try await gracefulShutdown()
            ended.complete(with: ())
        }
    }

    @Test("runs the application's services, and its processes before it is ready", arguments: bothBackends)
    func services(type: BackendType) async throws {
        let (begun, ended, prepared) = (Completion<Void>(), Completion<Void>(), Completion<Void>())
        let application = { @Sendable in
            var application = testApplication()
            application.addServices(Helper(begun: begun, ended: ended))
            application.beforeServerStarts {
                try await begun.wait()
                prepared.complete(with: ())
            }
            return application
        }
        try await RunningService.with(type, application: application) { running in
            #expect(prepared.value != nil)
            #expect(try await running.connect().get("/hello").status == 200)
            try await running.service.stop(graceful: true, until: nil)
            #expect(ended.value != nil)
        }
    }

    private struct Failure: Error {}

    @Test("does not start when the application cannot be prepared")
    func failedStart() async throws {
        let socket = try TestSocket()
        try await TestBackend.with(.cooperative) { backend in
            let service = HummingbirdService(name: "api", socket: socket.socket, backend: backend) {
                var application = testApplication()
                application.beforeServerStarts { throw Failure() }
                return application
            }
            await #expect(throws: Failure.self) { try await service.start() }
        }
    }

    @Test("keeps the application's limit of connections", arguments: bothBackends)
    func limit(type: BackendType) async throws {
        let application = { @Sendable in
            Application(
                router: testRouter(),
                configuration: .init(availableConnectionsDelegate: .maximum(1, logger: silentLogger)),
                logger: silentLogger)
        }
        try await RunningService.with(type, application: application) { running in
            var first: Client? = try running.connect()
            #expect(try await first?.get("/hello").status == 200)
            let second = try running.connect()
            try second.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n")
            #expect(try await first?.get("/hello").status == 200)
            // Closes it.
            first = nil
            #expect(try await second.answer().status == 200)
        }
    }

    /// Wraps another one, as TLS does.
    private struct CountingChannel<Base: ServerChildChannel>: ServerChildChannel {
        let base: Base
        let count: Counter

        func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Base.Value> {
            count.increment()
            return base.setup(channel: channel, logger: logger)
        }

        func handle(value: Base.Value, logger: Logger) async {
            await base.handle(value: value, logger: logger)
        }
    }

    private final class Counter: Sendable {
        private let count = Locked(0)
        var value: Int { count.withLock { $0 } }
        func increment() { count.withLock { $0 += 1 } }
    }

    @Test("sets connections up as the application's server says, or as it is told to", arguments: [false, true])
    func channels(isTold: Bool) async throws {
        let count = Counter()
        let build: HummingbirdService.ChannelBuilder = {
            CountingChannel(base: HTTP1Channel(responder: $0), count: count)
        }
        let application = { @Sendable in
            Application(
                router: testRouter(), server: isTold ? .http1() : HTTPServerBuilder(build), logger: silentLogger)
        }
        let channel = isTold ? build : nil
        try await RunningService.with(.cooperative, channel: channel, application: application) { running in
            let answer = try await running.connect().get("/hello")
            #expect(answer.status == 200)
            #expect(count.value == 1)
        }
    }
}
#endif
