// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster
import NIOCore
import NIOHTTP1
import NIOPosix

/// SwiftNIO's HTTP/1 server on one event loop of its own, which reads and writes; what is asked for is worked out in
/// a thread of the service's group.
final class HTTPServer: Sendable {
    let url: String

    private static let backlog: Int32 = 4096

    private let group: MultiThreadedEventLoopGroup
    private let listener: any Channel
    /// What was opened here, closed by now but for SwiftNIO's duplicate; a Unix socket has a file to be removed.
    private let ownSocket: ListeningSocket?
    private let connections: NIOLoopBound<ConnectionTable>

    init(
        at target: ListenTarget, threadGroup: ThreadGroup, metrics: StoreMetrics,
        respond: @escaping @Sendable (HTTPRequest) async -> HTTPReply
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let eventLoop = group.any()
        do {
            let connections = try await eventLoop.submit {
                NIOLoopBound(ConnectionTable(eventLoop: eventLoop), eventLoop: eventLoop)
            }.get()
            let bootstrap = ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: Self.backlog)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                        try channel.pipeline.syncOperations.addHandler(
                            RequestHandler(
                                threadGroup: threadGroup, metrics: metrics, table: connections.value,
                                respond: respond))
                    }
                }
            switch target {
            case .address(let address):
                let socket = try ListeningSocket(address, setting: "--http", backlog: Self.backlog)
                defer { socket.closeDescriptor() }
                listener = try await Self.listen(on: socket.descriptor, with: bootstrap)
                ownSocket = socket
            case .descriptor(let descriptor):
                do {
                    listener = try await Self.listen(on: descriptor, with: bootstrap)
                } catch {
                    throw InheritedSocketError(descriptor: descriptor, reason: "\(error)")
                }
                ownSocket = nil
            }
            self.group = group
            self.connections = connections
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        url = Self.url(of: listener.localAddress)
    }

    private static func listen(on descriptor: Int32, with bootstrap: ServerBootstrap) async throws -> any Channel {
        // SwiftNIO owns what it is given, and the next start of the service may need the socket again.
        let duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard duplicate >= 0 else { throw SystemError("duplicate the listening socket") }
        let channel = try await bootstrap.withBoundSocket(duplicate).get()
        // SwiftNIO has just shortened the queue that all processes share to 128 connections.
        _ = Glibc.listen(descriptor, backlog)
        return channel
    }

    private static func url(of address: SocketAddress?) -> String {
        if let path = address?.pathname, !path.isEmpty { return "unix:\(path)" }
        let host = address?.ipAddress ?? "localhost"
        return "http://\(host.contains(":") ? "[\(host)]" : host):\(address?.port ?? 0)"
    }

    /// Closes the listening socket, and each connection after its next answer, which says so. A connection without a
    /// request is kept for a grace, because its client may be sending one right now.
    ///
    /// - Parameters:
    ///   - grace: How long a connection without a request is kept.
    ///   - deadline: When the rest is closed; `nil` for never.
    func beginDraining(grace: Duration = .seconds(1), until deadline: MonotonicInstant?) async {
        await closeListener()
        let connections = connections
        try? await connections.eventLoop.submit {
            connections.value.beginDraining(grace: grace, until: deadline)
        }.get()
    }

    /// Waits until the server that drains has no connection left.
    func drained() async {
        let connections = connections
        try? await connections.eventLoop.flatSubmit { connections.value.whenGone() }.get()
    }

    /// Closes the listening socket and all connections at once.
    func closeConnections() async {
        await closeListener()
        let connections = connections
        try? await connections.eventLoop.submit { connections.value.closeAll() }.get()
        await drained()
    }

    private func closeListener() async {
        ownSocket?.unlinkFile()
        // One that is closed already is as good.
        try? await listener.close().get()
    }

    /// Closes the connections and ends the event loop, which no request may need any longer.
    func close() async throws {
        await closeConnections()
        try await group.shutdownGracefully()
    }
}
