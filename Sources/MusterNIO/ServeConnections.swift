// SPDX-License-Identifier: Apache-2.0

#if NIO
import CMuster
import Glibc
public import Logging
import Muster
import MusterLock
public import MusterPlatform
public import NIOCore
public import NIOPosix

extension ListeningSocket {
    /// Accepts connections and makes each one a channel of a bootstrap, until the worker stops.
    ///
    /// ```swift
    /// let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
    ///     .channelInitializer { channel in channel.pipeline.addHandler(Echo()) }
    /// try await threadGroup.addThread(name: "accept") { try await socket.serve(bootstrap) }
    /// ```
    ///
    /// Any number of processes may serve one socket: a connection that another one has accepted is no error, and each
    /// accepts one connection at a time, so that those that are idle get an equal share.
    ///
    /// Once the worker stops, it accepts no more, sends `ChannelShouldQuiesceEvent` through the pipelines, and returns
    /// when all channels are closed. Cancelling the task closes them.
    ///
    /// - Parameters:
    ///   - bootstrap: Makes the channels. A *client* bootstrap, because a server's listens by itself: it would change
    ///     the length of the shared socket's queue, and trap when another process was faster.
    ///   - logger: Where connections that fail are logged.
    /// - Throws: `CancellationError`; an error when the socket cannot be watched.
    public func serve(
        _ bootstrap: ClientBootstrap, logger: Logger = Logger(label: "muster.nio")
    ) async throws {
        let server = ConnectionServer<any Channel>(
            socket: self, logger: logger, channel: { $0 }, drain: { $0.quiesce() },
            handle: { channel in try? await channel.closeFuture.get() })
        try await server.run { descriptor in
            let channel = bootstrap.withConnectedSocket(descriptor)
            return { try await channel.get() }
        }
    }

    /// Accepts connections, makes each one a channel and handles it in a task, until the worker stops.
    ///
    /// ```swift
    /// try await socket.serve { channel in
    ///     channel.eventLoop.makeCompletedFuture {
    ///         try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
    ///     }
    /// } handle: { connection in
    ///     try? await connection.executeThenClose { inbound, outbound in
    ///         for try await bytes in inbound { try await outbound.write(bytes) }
    ///     }
    /// }
    /// ```
    ///
    /// Otherwise as ``serve(_:logger:)``; a channel that is still open when its handler returns is closed.
    ///
    /// - Parameters:
    ///   - group: Whose event loops the channels get, in turn.
    ///   - logger: Where connections that fail are logged.
    ///   - initializer: Called on the channel's event loop, as by a bootstrap.
    ///   - handle: Called with what the initializer returns, in a task of each connection.
    /// - Throws: `CancellationError`; ``ServeError``; an error when the socket cannot be watched.
    public func serve<Output: Sendable>(
        on group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        logger: Logger = Logger(label: "muster.nio"),
        initializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>,
        handle: @escaping @Sendable (Output) async -> Void
    ) async throws {
        let server = ConnectionServer<(channel: any Channel, output: Output)>(
            socket: self, logger: logger, channel: { $0.channel }, drain: { $0.channel.quiesce() },
            handle: { connection in await handle(connection.output) })
        try await server.run(on: group) { channel in initializer(channel).map { (channel, $0) } }
    }
}

/// Why a socket cannot be served.
public enum ServeError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The event loops are not those of NIOPosix.
    case unsupportedEventLoopGroup(String)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .unsupportedEventLoopGroup(let name):
            "connections cannot be served by the event loops of a \(name): use a MultiThreadedEventLoopGroup"
        }
    }
}

extension Channel {
    /// Tells the handlers that the channel should be closed as soon as what has begun is over.
    package func quiesce() {
        pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
    }
}

/// Accepts a socket's connections and handles each in a task of its own, until the worker stops.
package struct ConnectionServer<Connection: Sendable>: Sendable {
    /// How long after a connection the next one is left to other workers: a little more than they need to wake up.
    private static var pause: Duration { .microseconds(200) }

    private let socket: ListeningSocket
    private let logger: Logger
    private let channel: @Sendable (Connection) -> any Channel
    private let drain: @Sendable (Connection) -> Void
    private let handle: @Sendable (Connection) async -> Void
    private let waitForConnection: @Sendable (ListeningSocket) async throws -> Void
    private let count: @Sendable (_ change: Int) -> Void

    /// - Parameters:
    ///   - channel: The channel of a connection.
    ///   - drain: Called with each open connection once no more are accepted.
    ///   - handle: Returns when the connection is over.
    ///   - waitForConnection: Returns when there may be one; throws `CancellationError` when no more are to be accepted.
    ///   - count: Called with 1 when one has been accepted, before the next wait, and with -1 when one is over.
    package init(
        socket: ListeningSocket, logger: Logger, channel: @escaping @Sendable (Connection) -> any Channel,
        drain: @escaping @Sendable (Connection) -> Void, handle: @escaping @Sendable (Connection) async -> Void,
        waitForConnection: @escaping @Sendable (ListeningSocket) async throws -> Void = { try await $0.isReadable() },
        count: @escaping @Sendable (_ change: Int) -> Void = { _ in }
    ) {
        self.socket = socket
        self.logger = logger
        self.channel = channel
        self.drain = drain
        self.handle = handle
        self.waitForConnection = waitForConnection
        self.count = count
    }

    /// As `run(_:)`, with channels of a group that an initializer sets up.
    package func run(
        on group: any EventLoopGroup,
        initializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Connection>
    ) async throws {
        guard ClientBootstrap(validatingGroup: group) != nil else {
            throw ServeError.unsupportedEventLoopGroup(String(describing: type(of: group)))
        }
        try await run { descriptor in
            {
                try await ClientBootstrap(group: group)
                    .channelOption(.allowRemoteHalfClosure, value: true)
                    .withConnectedSocket(descriptor, channelInitializer: initializer)
            }
        }
    }

    /// Returns when no more connections are to be accepted and all are over.
    ///
    /// - Parameter open: Called with each connection's descriptor, which it takes over; the closure that it returns is
    ///   run in the connection's task.
    /// - Throws: `CancellationError`; what waiting for connections throws.
    package func run(_ open: (CInt) -> @Sendable () async throws -> Connection) async throws {
        let connections = OpenConnections(channel: channel, drain: drain)
        try await withTaskCancellationHandler {
            try await withThrowingDiscardingTaskGroup { group in
                // What follows an error also waits for the tasks.
                defer { connections.beginDraining() }
                while let descriptor = try await nextConnection() {
                    count(1)
                    let connection = open(descriptor)
                    group.addTask { await serve(connection, among: connections) }
                    // A worker that is awake already would be faster than idle ones each time.
                    if Worker.isWorkerProcess { try? await SystemClock().sleep(for: Self.pause) }
                }
            }
        } onCancel: {
            connections.closeAll()
        }
        try Task.checkCancellation()
    }

    private func serve(
        _ open: @Sendable () async throws -> Connection, among connections: OpenConnections<Connection>
    ) async {
        defer { count(-1) }
        do {
            let connection = try await open()
            let number = connections.add(connection)
            await handle(connection)
            channel(connection).close(promise: nil)
            connections.remove(number)
        } catch {
            logger.debug("connection failed", metadata: ["error": "\(error)"])
        }
    }

    /// Accepts the next connection.
    ///
    /// - Returns: `nil` when no more are to be accepted.
    private func nextConnection() async throws -> CInt? {
        while true {
            do {
                // Before each one, although there may be more: another worker that is idle takes the next.
                try await waitForConnection(socket)
            } catch is CancellationError {
                return nil
            }
            let descriptor = cmuster_accept(socket.descriptor)
            if descriptor >= 0 { return descriptor }
            switch errno {
            case EINVAL, EBADF, ENOTSOCK:
                // The worker stops: it does not listen any more.
                return nil
            case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                let error = SystemError("accept")
                logger.warning("cannot accept connections; retrying", metadata: ["reason": "\(error)"])
                try? await SystemClock().sleep(for: .milliseconds(100))
            default:
                // Another worker was faster, or the client has gone again.
                continue
            }
        }
    }
}

extension ListeningSocket {
    /// Returns when there may be a connection to accept.
    package func isReadable() async throws {
        try await (MusterPlatform.EventLoop.current ?? MusterPlatform.EventLoop.auxiliary).ready(
            descriptor, for: .readable)
    }
}

/// The connections that have been accepted and are not over.
private final class OpenConnections<Connection: Sendable>: Sendable {
    private struct State {
        var connections: [Int: Connection] = [:]
        var next = 0
        var isDraining = false
        var isClosed = false
    }

    private let channel: @Sendable (Connection) -> any Channel
    private let drain: @Sendable (Connection) -> Void
    private let state = Locked(State())

    init(channel: @escaping @Sendable (Connection) -> any Channel, drain: @escaping @Sendable (Connection) -> Void) {
        self.channel = channel
        self.drain = drain
    }

    func add(_ connection: Connection) -> Int {
        let (number, isDraining, isClosed) = state.withLock { state in
            defer { state.next += 1 }
            state.connections[state.next] = connection
            return (state.next, state.isDraining, state.isClosed)
        }
        if isClosed {
            channel(connection).close(promise: nil)
        } else if isDraining {
            drain(connection)
        }
        return number
    }

    func remove(_ number: Int) {
        _ = state.withLock { $0.connections.removeValue(forKey: number) }
    }

    func beginDraining() {
        let connections = state.withLock { state in
            state.isDraining = true
            return Array(state.connections.values)
        }
        for connection in connections { drain(connection) }
    }

    func closeAll() {
        let connections = state.withLock { state in
            state.isClosed = true
            return Array(state.connections.values)
        }
        for connection in connections { channel(connection).close(promise: nil) }
    }
}
#endif
