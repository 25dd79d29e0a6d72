// SPDX-License-Identifier: Apache-2.0

import Foundation

/// An answer to an HTTP request, got over a connection of its own.
struct HTTPAnswer: Sendable {
    let status: Int
    let headers: [String: String]
    let body: String

    static func get(
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
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port)).bigEndian
        address.sin_addr.s_addr = inet_addr(host)
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else { throw Program.Ended(description: "cannot connect to \(url): errno \(errno)") }
        let target = parts.percentEncodedPath + (parts.percentEncodedQuery.map { "?" + $0 } ?? "")
        var request = "\(method) \(target) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n"
        for (name, value) in headers { request += "\(name): \(value)\r\n" }
        if !body.isEmpty { request += "Content-Length: \(body.utf8.count)\r\n" }
        let bytes = Array((request + "\r\n" + body).utf8)
        guard send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw Program.Ended(description: "cannot send to \(url): errno \(errno)")
        }
        var received = Data()
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count <= 0 { break }
            received.append(contentsOf: chunk[..<count])
        }
        return try HTTPAnswer(received)
    }

    init(_ data: Data) throws {
        guard let end = data.range(of: Data("\r\n\r\n".utf8)) else {
            throw Program.Ended(description: "no HTTP answer in \(data.count) bytes")
        }
        let lines = String(decoding: data[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
        status = Int(lines[0].split(separator: " ")[1]) ?? 0
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let halves = line.split(separator: ":", maxSplits: 1)
            headers[halves[0].lowercased()] = halves[1].trimmingCharacters(in: .whitespaces)
        }
        self.headers = headers
        body = String(decoding: data[end.upperBound...], as: UTF8.self)
    }
}
