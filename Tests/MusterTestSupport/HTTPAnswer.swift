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

    package init(_ data: Data) throws {
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
