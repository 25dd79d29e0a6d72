// SPDX-License-Identifier: Apache-2.0

import Muster
import NIOCore
import NIOHTTP1
import NIOPosix

/// SwiftNIO's HTTP/1 server on one event loop of its own, which reads and writes; what is asked for is worked out in
/// a thread of the service's group.
final class HTTPServer: Sendable {
    let url: String

    private let group: MultiThreadedEventLoopGroup
    private let listener: any Channel
    private let connections = Locked<[ObjectIdentifier: any Channel]>([:])

    init(
        host: String, port: Int, threadGroup: ThreadGroup, metrics: StoreMetrics,
        respond: @escaping @Sendable (HTTPRequest) async -> HTTPReply
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        self.group = group
        let connections = connections
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let identifier = ObjectIdentifier(channel)
                    connections.withLock { $0[identifier] = channel }
                    channel.closeFuture.whenComplete { _ in connections.withLock { $0[identifier] = nil } }
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(
                        RequestHandler(threadGroup: threadGroup, metrics: metrics, respond: respond))
                }
            }
        do {
            listener = try await bootstrap.bind(host: host, port: port).get()
        } catch {
            try? await group.shutdownGracefully()
            throw ListenError(host: host, port: port, reason: "\(error)")
        }
        let shown = host.contains(":") ? "[\(host)]" : host
        url = "http://\(shown):\(listener.localAddress?.port ?? port)"
    }

    /// Closes the listening socket.
    func stopAccepting() async throws {
        try await listener.close().get()
    }

    /// Closes the connections and ends the event loop.
    func close() async throws {
        for channel in connections.withLock({ Array($0.values) }) {
            // One that has just gone by itself is as good as closed.
            try? await channel.close().get()
        }
        try await group.shutdownGracefully()
    }
}
