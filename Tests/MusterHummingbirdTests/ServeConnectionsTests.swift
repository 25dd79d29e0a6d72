// SPDX-License-Identifier: Apache-2.0

#if Hummingbird
import Foundation
import MusterNIO
import MusterPlatform
import MusterTestSupport
import NIOCore
import NIOPosix
import Testing

/// Sends back what it receives, and closes when it is told to.
private final class Echo: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.writeAndFlush(data, promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ChannelShouldQuiesceEvent { context.close(promise: nil) }
    }
}

@Suite("SwiftNIO on a shared socket", .timeLimit(.minutes(2)))
struct ServeConnectionsTests {
    /// Does what the worker does to its sockets when it stops.
    private func retire(_ socket: ListeningSocket) {
        let other = Foundation.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        dup2(other, socket.descriptor)
        close(other)
        MusterPlatform.EventLoop.wakeWaiters(of: [socket.descriptor])
    }

    private func echo(_ connection: Connection, _ text: String) async throws {
        try connection.send(text)
        let received = try await onThread { try connection.receive() }
        #expect(received == Data(text.utf8))
    }

    @Test("makes connections channels of a bootstrap, until the worker stops")
    func bootstrap() async throws {
        let socket = try TestSocket()
        let serving = Task {
            let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).channelInitializer {
                channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Echo()) }
            }
            try await socket.socket.serve(bootstrap)
        }
        let connections = try (0..<3).map { _ in try Connection(host: "127.0.0.1", port: socket.port) }
        for connection in connections { try await echo(connection, "hello") }
        retire(socket.socket)
        try await serving.value
        for connection in connections { #expect(try await onThread { try connection.receive() } == nil) }
    }

    @Test("handles connections in tasks, and closes them when it is cancelled")
    func asynchronous() async throws {
        let socket = try TestSocket()
        let serving = Task {
            try await socket.socket.serve { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            } handle: { connection in
                try? await connection.executeThenClose { inbound, outbound in
                    for try await bytes in inbound { try await outbound.write(bytes) }
                }
            }
        }
        let connection = try Connection(host: "127.0.0.1", port: socket.port)
        try await echo(connection, "hello")
        serving.cancel()
        await #expect(throws: CancellationError.self) { try await serving.value }
        #expect(try await onThread { try connection.receive() } == nil)
    }

    @Test("lets several servers share a socket, of which only one gets a connection")
    func share() async throws {
        let socket = try TestSocket()
        let servers = (0..<4).map { _ in
            Task {
                let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                    .channelInitializer { channel in
                        channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Echo()) }
                    }
                try await socket.socket.serve(bootstrap)
            }
        }
        for _ in 0..<100 {
            let connection = try Connection(host: "127.0.0.1", port: socket.port)
            try await echo(connection, "hello")
        }
        retire(socket.socket)
        for server in servers { try await server.value }
    }

    @Test("refuses event loops that are not of sockets")
    func foreignGroup() async throws {
        let socket = try TestSocket()
        let loop = ForeignEventLoopGroup()
        await #expect(throws: ServeError.self) {
            try await socket.socket.serve(on: loop) { channel in
                channel.eventLoop.makeSucceededVoidFuture()
            } handle: {
            }
        }
    }
}

/// A group without sockets.
private final class ForeignEventLoopGroup: EventLoopGroup {
    func next() -> any NIOCore.EventLoop { MultiThreadedEventLoopGroup.singleton.next() }
    func makeIterator() -> EventLoopIterator { EventLoopIterator([]) }
    func shutdownGracefully(queue: DispatchQueue, _ callback: @escaping @Sendable ((any Error)?) -> Void) {
        callback(nil)
    }
}
#endif
