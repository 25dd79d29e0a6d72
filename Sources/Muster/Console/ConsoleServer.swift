// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import Logging
import MusterPlatform

/// Serves a console's connections, on a thread of its own: lines in, replies out. What clients do or leave undone costs a
/// bounded amount of memory and time, and delays nothing but this thread.
///
/// Sound as `@unchecked Sendable`: after ``start()`` everything belongs to the loop's thread.
final class ConsoleServer: @unchecked Sendable {
    struct Limits: Sendable {
        var connections = 32
        /// How long a connection may be silent between two lines.
        var idleTime = Duration.seconds(15 * 60)
        /// How long a line may take to be complete, and a client may leave a reply unread.
        var patience = Duration.seconds(10)
    }

    typealias Respond =
        @Sendable (
            ConsoleRequest, ConsolePeer, EventLoop, @escaping @Sendable (ConsoleAnswer) -> Void
        ) -> Void

    static let threadName = "muster-console"
    private static let acceptsPerTurn = 16

    let loop: EventLoop
    private let socket: ListeningSocket
    private let limits: Limits
    private let logger: Logger
    private let respond: Respond
    private let isUnix: Bool
    private var watch: EventLoop.Watch?
    private var connections: [Int32: ConsoleConnection] = [:]
    private var isStopped = false
    private var nextWarning = MonotonicInstant(nanoseconds: 0)

    /// - Parameter respond: Called on the loop's thread, which it must not block; completes on any thread.
    init(
        socket: ListeningSocket, limits: Limits = Limits(), logger: Logger, respond: @escaping Respond
    ) throws(SystemError) {
        self.socket = socket
        self.limits = limits
        self.logger = logger
        self.respond = respond
        if case .unix = socket.address { isUnix = true } else { isUnix = false }
        loop = try EventLoop(name: Self.threadName, parking: .descriptors)
    }

    func start() throws(SystemError) {
        try loop.attachThread(name: Self.threadName)
        loop.submit { [self] in listen() }
    }

    /// Closes the socket and every connection, once. From any thread.
    func stop() {
        socket.unlinkFile()
        loop.submit { [self] in
            // Another file may have the number of the closed socket.
            guard !isStopped else { return }
            isStopped = true
            if let watch = watch.take() { loop.unwatch(watch) }
            socket.closeDescriptor()
            for connection in connections.values { connection.close() }
            connections = [:]
            loop.leave()
        }
    }

    private func listen() {
        guard !isStopped, watch == nil else { return }
        do {
            watch = try loop.watch(socket.descriptor, for: .readable) { [unowned self] _ in accept() }
        } catch {
            logger.error("console cannot accept connections", metadata: ["error": "\(error)"])
        }
    }

    private func accept() {
        for _ in 0..<Self.acceptsPerTurn {
            let descriptor = cmuster_accept(socket.descriptor)
            guard descriptor >= 0 else {
                switch errno {
                case EINTR, ECONNABORTED: continue
                case EAGAIN: return
                default: return pause()
                }
            }
            admit(OwnedDescriptor(descriptor))
        }
    }

    /// Without descriptors or memory the socket would stay readable: it is looked at again after a while.
    private func pause() {
        warn("console cannot accept a connection", ["error": "\(SystemError("accept"))"])
        if let watch = watch.take() { loop.unwatch(watch) }
        loop.schedule(at: .now.advanced(by: .seconds(1))) { [weak self] in self?.listen() }
    }

    private func admit(_ descriptor: OwnedDescriptor) {
        guard connections.count < limits.connections else {
            return refuse(descriptor, "too many connections; the limit is \(limits.connections)", [:])
        }
        guard let peer = ConsolePeer(of: descriptor.rawValue, isUnix: isUnix) else {
            return refuse(descriptor, "the owner of this connection is unknown", [:])
        }
        guard peer.isAdmitted() else {
            return refuse(
                descriptor, "only the user of the program (uid \(geteuid())) and root may use this console",
                ["peer_uid": "\(peer.uid)", "peer_pid": "\(peer.pid.map { "\($0)" } ?? "unknown")"])
        }
        let number = descriptor.rawValue
        let connection = ConsoleConnection(
            descriptor, loop: loop, limits: limits,
            ended: { [unowned self] in
                connections[number] = nil
            }, handle: { [unowned self] request, complete in respond(request, peer, loop, complete) })
        connections[number] = connection
        connection.begin()
    }

    private func refuse(_ descriptor: OwnedDescriptor, _ reason: String, _ details: Logger.Metadata) {
        warn("console refused a connection", details.merging(["reason": "\(reason)"]) { $1 })
        let line = Array(ConsoleAnswer(.refused, reason).text.utf8)
        _ = send(descriptor.rawValue, line, line.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        // What is left unread could take the line away from the client.
        shutdown(descriptor.rawValue, Int32(SHUT_WR))
        withUnsafeTemporaryAllocation(byteCount: 16 << 10, alignment: 1) {
            _ = recv(descriptor.rawValue, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT))
        }
    }

    private func warn(_ text: Logger.Message, _ details: Logger.Metadata) {
        guard MonotonicInstant.now >= nextWarning else { return }
        nextWarning = .now.advanced(by: .seconds(10))
        logger.warning(text, metadata: details)
    }
}

/// One client of a console. It reads a line, waits for the answer, writes it, and only then reads on.
///
/// Sound as `@unchecked Sendable`: everything belongs to the loop's thread.
private final class ConsoleConnection: @unchecked Sendable {
    typealias Handle = (ConsoleRequest, @escaping @Sendable (ConsoleAnswer) -> Void) -> Void

    private static let chunk = 4096

    private let descriptor: OwnedDescriptor
    private let loop: EventLoop
    private let limits: ConsoleServer.Limits
    private let ended: () -> Void
    private let handle: Handle
    private var input: [UInt8] = []
    private var output: ArraySlice<UInt8> = []
    private var watch: EventLoop.Watch?
    private var alarm: EventLoop.ScheduledAction?
    /// Whether a line has begun and is not complete.
    private var isInLine = false
    /// Whether it ends once the output is written.
    private var isLast = false
    private var isClosed = false

    init(
        _ descriptor: OwnedDescriptor, loop: EventLoop, limits: ConsoleServer.Limits, ended: @escaping () -> Void,
        handle: @escaping Handle
    ) {
        self.descriptor = descriptor
        self.loop = loop
        self.limits = limits
        self.ended = ended
        self.handle = handle
    }

    func begin() {
        wait(for: .readable, within: limits.idleTime) { $0.read() }
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        rest()
        ended()
    }

    /// Goes on when the descriptor is ready; the connection ends when that takes too long.
    private func wait(
        for events: DescriptorEvents, within time: Duration, _ body: @escaping @Sendable (ConsoleConnection) -> Void
    ) {
        rest()
        alarm = loop.schedule(at: .now.advanced(by: time)) { [weak self] in
            self?.alarm = nil
            self?.close()
        }
        do {
            watch = try loop.watch(descriptor.rawValue, for: events) { [weak self] _ in
                if let self { body(self) }
            }
        } catch {
            close()
        }
    }

    private func rest() {
        if let watch = watch.take() { loop.unwatch(watch) }
        if let alarm = alarm.take() { loop.cancel(alarm) }
    }

    // MARK: Requests

    private func read() {
        let count = withUnsafeTemporaryAllocation(byteCount: Self.chunk, alignment: 1) { buffer in
            let count = recv(descriptor.rawValue, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
            if count > 0 { input += buffer[..<count] }
            return count
        }
        if count < 0, errno == EAGAIN || errno == EINTR { return }
        guard count > 0 else { return close() }
        next()
    }

    /// Handles the next line, if it is complete.
    private func next() {
        guard let end = input.firstIndex(of: UInt8(ascii: "\n")) else {
            guard input.count <= ConsoleRequest.longestLine else {
                return finish(.refused, "the line is longer than \(ConsoleRequest.longestLine) bytes")
            }
            // The time of a line that has begun runs from its beginning.
            let hasBegun = !input.isEmpty
            guard watch == nil || hasBegun != isInLine else { return }
            isInLine = hasBegun
            return wait(for: .readable, within: isInLine ? limits.patience : limits.idleTime) { $0.read() }
        }
        isInLine = false
        var line = input[..<end]
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        guard line.count <= ConsoleRequest.longestLine else {
            return finish(.refused, "the line is longer than \(ConsoleRequest.longestLine) bytes")
        }
        guard let text = String(validating: line, as: UTF8.self),
            !text.unicodeScalars.contains(where: { $0.isControl && $0 != "\t" })
        else { return finish(.refused, "the line is not text") }
        // A web page may send requests to any port of the machine that its reader sits at.
        guard !Self.isHTTP(text) else { return finish(.refused, "this is not an HTTP server") }
        input.removeSubrange(...end)
        perform(text)
    }

    private static func isHTTP(_ line: String) -> Bool {
        line.split(separator: " ").last.map { $0.hasPrefix("HTTP/") } ?? false
    }

    private func perform(_ line: String) {
        // The answer has time limits of its own.
        rest()
        do throws(ConsoleUsage) {
            let request = try ConsoleRequest(line)
            if request.command.name == "quit" {
                isLast = true
                return complete(ConsoleAnswer(), isJSON: request.isJSON)
            }
            handle(request) { [weak self] in self?.complete($0, isJSON: request.isJSON) }
        } catch {
            complete(ConsoleAnswer(.usage, error.text), isJSON: error.isJSON)
        }
    }

    /// On any thread. Many lines at once are many turns of the loop, between which others have theirs.
    private func complete(_ answer: ConsoleAnswer, isJSON: Bool) {
        loop.submit { [weak self] in self?.write(answer, isJSON: isJSON) }
    }

    // MARK: Replies

    private func finish(_ status: ConsoleStatus, _ message: String) {
        isLast = true
        write(ConsoleAnswer(status, message), isJSON: false)
    }

    private func write(_ answer: ConsoleAnswer, isJSON: Bool) {
        guard !isClosed else { return }
        output = Array((isJSON ? answer.json : answer.text).utf8)[...]
        rest()
        flush()
    }

    private func flush() {
        while !output.isEmpty {
            let count = output.withUnsafeBytes {
                send(descriptor.rawValue, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            }
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN {
                return wait(for: .writable, within: limits.patience) { $0.flush() }
            }
            guard count > 0 else { return close() }
            output.removeFirst(count)
        }
        if isLast { return linger() }
        rest()
        next()
    }

    /// Lets a client that still sends read the reply: closing would take it away.
    private func linger() {
        input = []
        shutdown(descriptor.rawValue, Int32(SHUT_WR))
        wait(for: .readable, within: .seconds(1)) { connection in
            let count = withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 1) {
                recv(connection.descriptor.rawValue, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT))
            }
            if count == 0 || count < 0 && errno != EAGAIN && errno != EINTR { connection.close() }
        }
    }
}
