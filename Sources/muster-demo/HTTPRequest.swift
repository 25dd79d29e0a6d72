// SPDX-License-Identifier: Apache-2.0

/// A whole request.
struct HTTPRequest: Sendable {
    let method: String
    let path: String
    let query: [String: String]
    let body: [UInt8]

    init(method: String, uri: String, body: [UInt8]) {
        self.method = method
        self.body = body
        let parts = uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        path = String(parts.first ?? "/")
        var query: [String: String] = [:]
        for pair in parts.count > 1 ? parts[1].split(separator: "&") : [] {
            let halves = pair.split(separator: "=", maxSplits: 1)
            query[String(halves[0])] = halves.count > 1 ? String(halves[1]) : ""
        }
        self.query = query
    }
}
