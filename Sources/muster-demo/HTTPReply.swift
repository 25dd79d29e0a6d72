// SPDX-License-Identifier: Apache-2.0

/// A whole answer.
struct HTTPReply: Sendable {
    /// The pattern of the path, which unlike the path itself has few values.
    let route: String
    let status: Int
    let contentType: String
    let body: [UInt8]

    init(route: String, status: Int = 200, body: [UInt8]) {
        self.route = route
        self.status = status
        contentType = "application/octet-stream"
        self.body = body
    }

    init(route: String, status: Int = 200, text: String) {
        self.route = route
        self.status = status
        contentType = "text/plain; charset=utf-8"
        body = Array(text.utf8)
    }
}
