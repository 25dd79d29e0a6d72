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

    /// A whole number of the query.
    func integer(_ name: String, in range: ClosedRange<Int>) throws(BadParameter) -> Int {
        guard let text = query[name], let value = Int(text), range.contains(value) else {
            throw BadParameter(name: name, wanted: "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// A number of the query.
    func number(_ name: String, in range: ClosedRange<Int>) throws(BadParameter) -> Double {
        guard let text = query[name], let value = Double(text),
            (Double(range.lowerBound)...Double(range.upperBound)).contains(value)
        else { throw BadParameter(name: name, wanted: "from \(range.lowerBound) to \(range.upperBound)") }
        return value
    }
}
