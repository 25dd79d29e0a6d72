// SPDX-License-Identifier: Apache-2.0

import Glibc
package import MusterPlatform

/// A client that says exactly what it is told to, over a socket of its own.
package final class TestClient {
    /// A response as it came.
    package struct Response {
        package var status: Int
        /// Names in lower case.
        package var headers: [(name: String, value: String)]
        package var body: [UInt8]

        package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
        package var text: String { String(decoding: body, as: UTF8.self) }
    }

    package enum Failure: Error {
        case system(SystemError)
        case closed(received: String)
        case nonsense(String)
    }

    package let descriptor: Int32
    /// What has to live as long as the client.
    package var owner: AnyObject?
    private var pending: [UInt8] = []

    /// Connects.
    ///
    /// - Parameters:
    ///   - address: Where to.
    ///   - receiveBuffer: The size of the kernel's buffer, for a client that reads slowly.
    package init(_ address: ListenAddress, receiveBuffer: Int32? = nil) throws {
        var storage = sockaddr_storage()
        var length = socklen_t(0)
        switch address {
        case .tcp(let host, let port) where host.contains(":"):
            var inner = sockaddr_in6()
            inner.sin6_family = sa_family_t(AF_INET6)
            inner.sin6_port = port.bigEndian
            inet_pton(AF_INET6, host, &inner.sin6_addr)
            length = Self.copy(inner, to: &storage)
        case .tcp(_, let port):
            var inner = sockaddr_in()
            inner.sin_family = sa_family_t(AF_INET)
            inner.sin_port = port.bigEndian
            inner.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            length = Self.copy(inner, to: &storage)
        case .unix(let path):
            var inner = sockaddr_un()
            inner.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &inner.sun_path) { room in
                for (index, byte) in path.utf8.enumerated() { room[index] = byte }
            }
            length = Self.copy(inner, to: &storage)
        case .descriptor, .systemd:
            throw Failure.nonsense("a descriptor is no address of a client")
        }
        descriptor = socket(Int32(storage.ss_family), Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw Failure.system(SystemError("socket")) }
        // Ends a test that would hang otherwise.
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        if var receiveBuffer {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receiveBuffer, socklen_t(MemoryLayout<Int32>.size))
        }
        let code = withUnsafePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, length) }
        }
        guard code == 0 else { throw Failure.system(SystemError("connect")) }
    }

    deinit {
        close(descriptor)
    }

    private static func copy<Inner>(_ inner: Inner, to storage: inout sockaddr_storage) -> socklen_t {
        withUnsafeMutableBytes(of: &storage) { target in
            withUnsafeBytes(of: inner) { target.copyMemory(from: $0) }
        }
        return socklen_t(MemoryLayout<Inner>.size)
    }

    // MARK: Speaking

    /// Sends bytes; how many the other side has taken before it hung up.
    @discardableResult
    package func send(_ bytes: [UInt8]) -> Int {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(
                    descriptor, $0.baseAddress?.advanced(by: sent), bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { break }
            sent += count
        }
        return sent
    }

    package func send(_ text: String) {
        send(Array(text.utf8))
    }

    package func request(_ method: String, _ path: String, _ headers: [String] = []) {
        send("\(method) \(path) HTTP/1.1\r\nHost: test\r\n" + headers.map { $0 + "\r\n" }.joined() + "\r\n")
    }

    package func get(_ path: String, _ headers: [String] = []) throws -> Response {
        request("GET", path, headers)
        return try response()
    }

    // MARK: Listening

    private func receive() throws -> Bool {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        var count = recv(descriptor, &buffer, buffer.count, 0)
        while count < 0, errno == EINTR { count = recv(descriptor, &buffer, buffer.count, 0) }
        guard count >= 0 else {
            let error = SystemError("recv")
            if error.code == ECONNRESET { return false }
            throw Failure.system(error)
        }
        pending += buffer.prefix(count)
        return count > 0
    }

    /// Reads one response.
    ///
    /// - Parameter hasBody: Whether a body follows; `false` for the answer to HEAD.
    package func response(hasBody: Bool = true) throws -> Response {
        let end = Array("\r\n\r\n".utf8)
        var headEnd: Int?
        while headEnd == nil {
            headEnd = pending.indices.first { $0 + 4 <= pending.count && Array(pending[$0..<$0 + 4]) == end }
            if headEnd == nil, try !receive() {
                throw Failure.closed(received: String(decoding: pending, as: UTF8.self))
            }
        }
        let head = String(decoding: pending[..<(headEnd ?? 0)], as: UTF8.self)
        pending.removeFirst((headEnd ?? 0) + 4)
        var lines = head.split(separator: "\r\n", omittingEmptySubsequences: false).map(String.init)
        let status = lines.removeFirst().split(separator: " ")
        guard status.count >= 2, let code = Int(status[1]) else { throw Failure.nonsense(head) }
        let headers = lines.map { line -> (name: String, value: String) in
            let parts = line.split(separator: ":", maxSplits: 1)
            return (parts[0].lowercased(), String(parts.count > 1 ? parts[1].drop { $0 == " " } : ""))
        }
        var response = Response(status: code, headers: headers, body: [])
        guard hasBody, code != 304 else { return response }
        if response.header("transfer-encoding") == "chunked" {
            response.body = try chunks()
            return response
        }
        let length = response.header("content-length").flatMap { Int($0) } ?? 0
        while pending.count < length {
            guard try receive() else { throw Failure.closed(received: head) }
        }
        response.body = Array(pending.prefix(length))
        pending.removeFirst(length)
        return response
    }

    /// Reads a body in chunks, to its end.
    private func chunks() throws -> [UInt8] {
        var body: [UInt8] = []
        while true {
            let line = try self.line()
            guard let size = Int(line, radix: 16) else { throw Failure.nonsense(line) }
            while pending.count < size + 2 {
                guard try receive() else { throw Failure.closed(received: line) }
            }
            body += pending.prefix(size)
            pending.removeFirst(size + 2)
            if size == 0 { return body }
        }
    }

    private func line() throws -> String {
        while true {
            if let end = pending.firstIndex(of: 0x0A) {
                defer { pending.removeFirst(end + 1) }
                return String(decoding: pending[..<end], as: UTF8.self).replacing("\r", with: "")
            }
            guard try receive() else { throw Failure.closed(received: String(decoding: pending, as: UTF8.self)) }
        }
    }

    /// Reads until the other side hangs up.
    package func rest() throws -> String {
        while try receive() {}
        defer { pending = [] }
        return String(decoding: pending, as: UTF8.self)
    }
}
