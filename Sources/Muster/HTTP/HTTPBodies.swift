// SPDX-License-Identifier: Apache-2.0

import Glibc
import HTTPTypes
import MusterHTTP
import MusterLock
import MusterPlatform

extension HTTPServer {
    /// The body of a request, part by part as it comes. To be read once.
    ///
    /// The client is kept from sending while more than 64 KiB wait to be read. Nothing of it comes, and a client that
    /// waits for leave to send (`Expect: 100-continue`) gets none, before it is read.
    public struct RequestBody: AsyncSequence, Sendable {
        /// Some bytes, at least one.
        public typealias Element = [UInt8]

        let channel: RequestChannel?

        /// Reads the rest of it.
        ///
        /// - Throws: ``HTTPServer/Failure`` with the status that says what is wrong with it, 413 if it is longer than
        ///   ``HTTPServer/Limits/bodySize``; `CancellationError`.
        public func collect() async throws -> [UInt8] {
            var bytes: [UInt8] = []
            for try await part in self { bytes.append(contentsOf: part) }
            return bytes
        }

        /// Starts to read.
        public func makeAsyncIterator() -> Iterator { Iterator(channel: channel) }

        /// Reads the body.
        public struct Iterator: AsyncIteratorProtocol {
            let channel: RequestChannel?

            /// The next part; `nil` at the end.
            public mutating func next() async throws -> [UInt8]? { try await channel?.next() }
        }
    }

    /// The body of a response.
    public struct ResponseBody: Sendable {
        typealias Write = @Sendable ([UInt8]) async throws -> Void

        enum Content: Sendable {
            case bytes([UInt8])
            case text(String)
            case parts(length: Int?, @Sendable (Write) async throws -> Void)
            case file(OwnedDescriptor, size: UInt64)
        }

        let content: Content

        /// Bytes.
        public static func bytes(_ bytes: [UInt8]) -> Self { Self(content: .bytes(bytes)) }

        /// Parts as a sequence gives them; no more are asked for while more than 64 KiB wait for the client.
        ///
        /// If they are made of the request's body, the client gets the response when that has been read to its end; until
        /// then ``HTTPServer/Limits/bodySize`` is the most that is kept of it, and more is an error.
        ///
        /// An error that the sequence throws ends the connection, so that the client does not take the part for the whole.
        ///
        /// - Parameter length: How many bytes there will be, if that is known; otherwise they are sent in chunks, and to
        ///   a client of HTTP/1.0 until the end of the connection.
        public static func parts<Parts: AsyncSequence & Sendable>(_ parts: Parts, length: Int? = nil) -> Self
        where Parts.Element == [UInt8] {
            Self(
                content: .parts(length: length) { write in
                    for try await part in parts where !part.isEmpty { try await write(part) }
                })
        }

        /// A file, sent by the system.
        ///
        /// - Throws: ``HTTPServer/Failure`` with status 404 if there is none to be read.
        public static func file(at path: String) throws(HTTPServer.Failure) -> Self {
            let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
            guard descriptor >= 0 else { throw Failure(.notFound) }
            let owned = OwnedDescriptor(descriptor)
            var information = stat()
            guard fstat(descriptor, &information) == 0, information.st_mode & S_IFMT == S_IFREG else {
                throw Failure(.notFound)
            }
            return Self(content: .file(owned, size: UInt64(max(0, information.st_size))))
        }
    }
}

/// A request's body between the server's thread and its handler.
///
/// Sound as `Sendable`: its state is locked, and `exchange` is used on the loop's thread.
final class RequestChannel: Sendable {
    private enum End {
        case complete
        case failed(any Error)
    }

    private struct State {
        var bytes: [UInt8] = []
        var end: End?
        var waiter: CheckedContinuation<[UInt8]?, any Error>?
        /// Whether the client has been kept from sending.
        var isPaused = true
        /// Whether it has been asked for.
        var isRead = false
    }

    private static let capacity = 64 << 10

    private let loop: EventLoop
    private let exchange: Locked<HTTPExchange?>
    private let state = Locked(State())

    init(loop: EventLoop, _ exchange: HTTPExchange) {
        self.loop = loop
        self.exchange = Locked(exchange)
    }

    // MARK: The handler's side

    /// Whether a part has been asked for.
    var isRead: Bool { state.withLock { $0.isRead } }

    func next() async throws -> [UInt8]? {
        try await withTaskCancellationHandler {
            try Task.checkCancellation()
            return try await withCheckedThrowingContinuation { continuation in
                let (result, needsMore): (Result<[UInt8]?, any Error>?, Bool) = state.withLock { state in
                    state.isRead = true
                    if !state.bytes.isEmpty {
                        defer { state.bytes = [] }
                        return (.success(state.bytes), resumesReading(&state))
                    }
                    switch state.end {
                    case .complete: return (.success(nil), false)
                    case .failed(let error): return (.failure(error), false)
                    case nil: break
                    }
                    guard state.waiter == nil, !Task.isCancelled else { return (.failure(CancellationError()), false) }
                    state.waiter = continuation
                    return (nil, resumesReading(&state))
                }
                if let result { continuation.resume(with: result) }
                if needsMore { readMore() }
            }
        } onCancel: {
            takeWaiter()?.resume(throwing: CancellationError())
        }
    }

    private func resumesReading(_ state: inout State) -> Bool {
        guard state.isPaused, state.end == nil else { return false }
        state.isPaused = false
        return true
    }

    private func readMore() {
        if loop.isCurrent { return exchange.withLock { $0 }?.readBody() ?? () }
        loop.submit { [self] in exchange.withLock { $0 }?.readBody() }
    }

    private func takeWaiter() -> CheckedContinuation<[UInt8]?, any Error>? {
        state.withLock { $0.waiter.take() }
    }

    // MARK: The server's side

    func received(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let waiter = state.withLock { state -> CheckedContinuation<[UInt8]?, any Error>? in
            if let waiter = state.waiter.take() { return waiter }
            state.bytes.append(contentsOf: bytes)
            state.isPaused = state.bytes.count >= Self.capacity
            return nil
        }
        guard let waiter else { return state.withLock { !$0.isPaused } }
        waiter.resume(returning: Array(bytes))
        return true
    }

    func finish() { end(.complete) }

    func fail(_ error: any Error) { end(.failed(error)) }

    private func end(_ end: End) {
        let waiter = state.withLock { state -> CheckedContinuation<[UInt8]?, any Error>? in
            guard state.end == nil else { return nil }
            state.end = end
            return state.waiter.take()
        }
        switch end {
        case .complete: waiter?.resume(returning: nil)
        case .failed(let error): waiter?.resume(throwing: error)
        }
    }

    /// The exchange is over.
    func release() { exchange.withLock { $0 = nil } }
}

/// A response's body between the handler that makes it and the server's thread.
///
/// Sound as `Sendable`: its state is locked, and `exchange` is used on the loop's thread.
final class ResponseChannel: HTTPBodySource {
    private struct State {
        var bytes: [UInt8] = []
        var sent = 0
        var total = 0
        var isFinished = false
        var hasFailed = false
        var isGone = false
        /// Whether the server has begun to send it, if it can.
        var isOpen: Bool
        /// Whether the server waits for more.
        var isAwaited = false
        var writer: CheckedContinuation<Void, any Error>?
    }

    private static let capacity = 64 << 10

    private let loop: EventLoop
    private let exchange: Locked<HTTPExchange?>
    private let state: Locked<State>
    private let closedCapacity: Int

    /// - Parameter closedCapacity: How much is kept until it is open.
    init(loop: EventLoop, _ exchange: HTTPExchange, isOpen: Bool, closedCapacity: Int) {
        self.loop = loop
        self.exchange = Locked(exchange)
        self.closedCapacity = closedCapacity
        state = Locked(State(isOpen: isOpen))
    }

    // MARK: The handler's side

    /// Adds a part; waits while there is much that the client has not read.
    func write(_ part: [UInt8]) async throws {
        try await withTaskCancellationHandler {
            try Task.checkCancellation()
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let (result, isAwaited): (Result<Void, any Error>?, Bool) = state.withLock { state in
                    guard !state.isGone else { return (.failure(HTTPExchange.Failure.clientGone), false) }
                    state.bytes.append(contentsOf: part)
                    let isAwaited = state.isAwaited
                    state.isAwaited = false
                    guard state.isOpen else {
                        let fits = state.bytes.count <= closedCapacity
                        return (fits ? .success(()) : .failure(RequestUnread(limit: closedCapacity)), false)
                    }
                    if state.bytes.count - state.sent < Self.capacity { return (.success(()), isAwaited) }
                    guard !Task.isCancelled else { return (.failure(CancellationError()), isAwaited) }
                    state.writer = continuation
                    return (nil, isAwaited)
                }
                if isAwaited { wake() }
                if let result { continuation.resume(with: result) }
            }
        } onCancel: {
            state.withLock { $0.writer.take() }?.resume(throwing: CancellationError())
        }
    }

    /// Ends the body.
    ///
    /// - Parameter isWhole: Whether all of it has been written.
    func finish(isWhole: Bool) {
        let isAwaited = state.withLock { state in
            state.isFinished = true
            state.hasFailed = !isWhole
            defer { state.isAwaited = false }
            return state.isAwaited
        }
        if isAwaited { wake() }
    }

    /// More than is kept of a response whose request is not complete.
    private struct RequestUnread: Error, CustomStringConvertible {
        let limit: Int
        var description: String {
            """
            more than \(limit) bytes of the response were made before the request's body had been read to its end: read \
            it first, or raise the server's limit bodySize
            """
        }
    }

    private func wake() {
        if loop.isCurrent { return exchange.withLock { $0 }?.continueResponse() ?? () }
        loop.submit { [self] in exchange.withLock { $0 }?.continueResponse() }
    }

    // MARK: The server's side

    var sentBytes: Int { state.withLock { $0.total } }

    func open() { state.withLock { $0.isOpen = true } }

    func read(into buffer: UnsafeMutableRawBufferPointer) -> HTTPBodyPart {
        let (part, writer): (HTTPBodyPart, CheckedContinuation<Void, any Error>?) = state.withLock { state in
            let count = min(state.bytes.count - state.sent, buffer.count)
            guard count > 0 else {
                if state.hasFailed { return (.failed, nil) }
                if state.isFinished { return (.end, nil) }
                state.isAwaited = true
                return (.wait, nil)
            }
            state.bytes.withUnsafeBytes {
                buffer.copyMemory(from: .init(rebasing: $0[state.sent..<state.sent + count]))
            }
            state.sent += count
            state.total += count
            if state.sent == state.bytes.count {
                state.bytes.removeAll(keepingCapacity: true)
                state.sent = 0
            }
            let hasRoom = state.bytes.count - state.sent < Self.capacity / 2
            return (.bytes(count), hasRoom ? state.writer.take() : nil)
        }
        writer?.resume()
        return part
    }

    /// The exchange is over: nobody reads any more.
    func release() {
        exchange.withLock { $0 = nil }
        let writer = state.withLock { state in
            state.isGone = true
            return state.writer.take()
        }
        writer?.resume(throwing: HTTPExchange.Failure.clientGone)
    }
}
