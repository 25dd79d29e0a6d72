// SPDX-License-Identifier: Apache-2.0

package import Foundation

/// An answer to an HTTP request, got over a connection of its own.
package struct HTTPAnswer: Sendable {
    package let status: Int
    package let headers: [String: String]
    package let body: String

    package static func get(
        _ url: String, method: String = "GET", headers: [String: String] = [:], body: String = ""
    ) async throws -> HTTPAnswer {
        try await onThread { try exchange(url, method: method, headers: headers, body: body) }
    }

    private static func exchange(
        _ url: String, method: String, headers: [String: String], body: String
    ) throws -> HTTPAnswer {
        guard let parts = URLComponents(string: url), let host = parts.host, let port = parts.port else {
            throw Program.Ended(description: "no host and port in \(url)")
        }
        let connection = try Connection(host: host, port: port)
        let target = parts.percentEncodedPath + (parts.percentEncodedQuery.map { "?" + $0 } ?? "")
        var request = "\(method) \(target) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n"
        for (name, value) in headers { request += "\(name): \(value)\r\n" }
        if !body.isEmpty { request += "Content-Length: \(body.utf8.count)\r\n" }
        try connection.send(request + "\r\n" + body)
        return try HTTPAnswer(connection.receiveAll())
    }

    /// Gets a resource from a server at a Unix socket.
    package static func get(_ target: String, fromSocket path: String) async throws -> HTTPAnswer {
        try await onThread {
            let connection = try Connection(path: path)
            try connection.send("GET \(target) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return try HTTPAnswer(connection.receiveAll())
        }
    }

    package init(_ data: Data) throws {
        guard let end = data.range(of: Data("\r\n\r\n".utf8)) else {
            throw Program.Ended(description: "no HTTP answer in \(data.count) bytes")
        }
        let lines = String(decoding: data[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
        let statusLine = lines[0].split(separator: " ", omittingEmptySubsequences: false)
        guard statusLine.count > 1, let status = Int(statusLine[1]) else {
            throw Program.Ended(description: "no HTTP status in '\(lines[0])'")
        }
        self.status = status
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let halves = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            headers[halves[0].lowercased()] = halves.dropFirst().first?.trimmingCharacters(in: .whitespaces) ?? ""
        }
        self.headers = headers
        body = String(decoding: data[end.upperBound...], as: UTF8.self)
    }
}

/// A blocking connection to a server.
package final class Connection: Sendable {
    private let descriptor: Int32

    /// Connects to a TCP port.
    ///
    /// - Throws: When nobody listens there, among others.
    package init(host: String, port: Int) throws {
        let host = host.trimmingCharacters(in: CharacterSet(charactersIn: "[]"))
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &list) == 0, let first = list?.pointee else {
            throw Program.Ended(description: "\(host) is no address")
        }
        defer { freeaddrinfo(list) }
        descriptor = socket(first.ai_family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        try begin(connect(descriptor, first.ai_addr, first.ai_addrlen), to: "\(host):\(port)")
    }

    /// Connects to a Unix socket.
    ///
    /// - Throws: When nobody listens there, among others.
    package init(path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try begin(code, to: path)
    }

    // What throws here is taken down by `deinit` all the same.
    private func begin(_ code: Int32, to address: String) throws {
        guard code == 0 else { throw Program.Ended(description: "cannot connect to \(address): errno \(errno)") }
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    package func send(_ text: String) throws {
        let bytes = Array(text.utf8)
        guard Foundation.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw Program.Ended(description: "cannot send: errno \(errno)")
        }
    }

    /// What has come; nil when the other end has closed.
    package func receive() throws -> Data? {
        var chunk = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        guard count >= 0 else { throw Program.Ended(description: "nothing received: errno \(errno)") }
        return count == 0 ? nil : Data(chunk[..<count])
    }

    /// What comes until the other end closes.
    package func receiveAll() throws -> Data {
        var received = Data()
        while let more = try receive() { received.append(more) }
        return received
    }
}
