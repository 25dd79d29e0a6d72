// SPDX-License-Identifier: Apache-2.0

#if Hummingbird
import Hummingbird
import Logging
import Muster
import MusterHummingbird
import MusterPlatform
import MusterTestKit
import MusterTestSupport

/// What every suite runs on.
let bothBackends: [BackendType] = [.cooperative, .threading]

let silentLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A socket on a free port, closed with its owner.
final class TestSocket: Sendable {
    let socket: ListeningSocket

    init() throws {
        socket = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "test")
    }

    var port: Int {
        guard case .tcp(_, let port) = socket.address else { return 0 }
        return Int(port)
    }

    deinit { socket.closeDescriptor() }
}

/// A service that accepts connections.
struct RunningService: Sendable {
    let service: HummingbirdService
    let socket: TestSocket

    func connect() throws -> Client { try Client(port: socket.port) }

    /// Begins to stop gracefully. Once the probe, a connection that has been used, is told to close, all are.
    func beginStop(_ probe: Client) async throws -> Task<Void, any Error> {
        let stop = Task { try await service.stop(graceful: true, until: nil) }
        while try await probe.get("/hello").headers["connection"] != "close" {}
        return stop
    }

    /// Runs a service during a test.
    static func with<App: ApplicationProtocol>(
        _ type: BackendType, idleGrace: Duration = .seconds(60), channel: HummingbirdService.ChannelBuilder? = nil,
        application: @escaping @Sendable () -> App, _ body: (RunningService) async throws -> Void
    ) async throws {
        let socket = try TestSocket()
        try await TestBackend.with(type) { backend in
            let running = RunningService(
                service: HummingbirdService(
                    name: "api", socket: socket.socket, idleGrace: idleGrace, backend: backend, channel: channel,
                    application: application),
                socket: socket)
            try await running.service.start()
            do {
                try await body(running)
            } catch {
                try? await running.service.stop(graceful: false, until: nil)
                throw error
            }
            try await running.service.stop(graceful: false, until: nil)
        }
    }
}

/// A router with what the tests ask for.
@Sendable func testRouter() -> Router<BasicRequestContext> {
    let router = Router()
    router.get("hello") { _, _ in "hello" }
    router.put("length") { request, _ in
        let body = try await request.body.collect(upTo: 1 << 20)
        return "\(body.readableBytes)"
    }
    router.get("large") { _, _ in String(repeating: "x", count: largeSize) }
    return router
}

/// More than what the sockets' buffers take.
let largeSize = 16 << 20

@Sendable func testApplication() -> Application<RouterResponder<BasicRequestContext>> {
    Application(router: testRouter(), configuration: .init(serverName: "test"), logger: silentLogger)
}
#endif
