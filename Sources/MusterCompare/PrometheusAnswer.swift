// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import MusterPlatform

/// A question to Prometheus' HTTP API.
package struct PrometheusQuery: Hashable, Sendable {
    /// `query` or `query_range`.
    package var path: String
    package var parameters: [Parameter]

    package init(path: String, parameters: [Parameter]) {
        self.path = path
        self.parameters = parameters
    }

    package struct Parameter: Hashable, Sendable {
        package var name: String
        package var value: String

        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    /// The body of a form.
    package var form: String {
        parameters.map { "\($0.name)=\(Self.escape($0.value))" }.joined(separator: "&")
    }

    private static func escape(_ text: String) -> String {
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
                result.unicodeScalars.append(Unicode.Scalar(byte))
            default: result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return result
    }
}

/// A series of an answer: numbers and histograms by instant.
package struct PrometheusSeries: Hashable, Sendable {
    package var labels: [String: String]
    package var values: [Double: Double] = [:]
    package var histograms: [Double: Buckets] = [:]
}

/// Why Prometheus has not answered a question.
package enum PrometheusProblem: Error, Hashable, Sendable, CustomStringConvertible {
    /// It says no: status, kind of error, and its own words.
    case refused(status: Int, kind: String, reason: String)
    /// The answer is not one of Prometheus' API.
    case unreadable(status: Int, reason: String)
    /// There was no answer; told by the transport.
    case transport(String)

    package var description: String {
        switch self {
        case .refused(422, _, let reason): "Prometheus cannot run the query (422): \(reason)"
        case .refused(400, _, let reason):
            "Prometheus does not understand the query (400): \(reason); is --selector right?"
        case .refused(503, _, let reason): "Prometheus has too much to do (503): \(reason); use a shorter --window"
        case .refused(let status, let kind, let reason): "Prometheus answered \(status), \(kind): \(reason)"
        case .unreadable(401, _):
            """
            it wants a login (401): use --user with --password-file or MUSTER_PASSWORD, or --bearer-token-file
            """
        case .unreadable(403, _):
            "access is forbidden (403): the user, the token or the client certificate may not query"
        case .unreadable(404, _), .unreadable(405, _):
            "it has no /api/v1/query: is it the base URL of a Prometheus?"
        case .unreadable(let status, _) where (300..<400).contains(status):
            "it leads elsewhere (\(status)): name the URL that it leads to"
        case .unreadable(200, let reason):
            "the answer is not one of Prometheus: \(reason); is it the base URL of a Prometheus?"
        case .unreadable(let status, let reason): "it answered with HTTP status \(status): \(reason)"
        case .transport(let reason): reason
        }
    }
}

/// Reads answers of Prometheus' HTTP API.
package enum PrometheusAnswer {
    /// - Throws: ``PrometheusProblem``.
    package static func read(status: Int, body: [UInt8]) throws(PrometheusProblem) -> [PrometheusSeries] {
        guard let answer = try? JSONDecoder().decode(Answer.self, from: Data(body)) else {
            let line = String(decoding: body.prefix { $0 != 0x0A }.prefix(120), as: UTF8.self)
            throw .unreadable(
                status: status,
                reason: line.isEmpty ? "an empty body" : "'\(line.replacingControlCharacters(with: "?"))'")
        }
        guard answer.status == "success", status == 200 else {
            throw .refused(
                status: status, kind: answer.errorType ?? "error", reason: answer.error ?? "it does not say why")
        }
        return (answer.data?.result ?? []).map { result in
            var series = PrometheusSeries(labels: result.metric ?? [:])
            for point in (result.values ?? []) + (result.value.map { [$0] } ?? []) {
                if let value = point.value, value.isFinite { series.values[point.time] = value }
            }
            for point in (result.histograms ?? []) + (result.histogram.map { [$0] } ?? []) {
                if let buckets = point.buckets { series.histograms[point.time] = buckets }
            }
            return series
        }
    }

    private struct Answer: Decodable {
        let status: String
        let errorType: String?
        let error: String?
        let data: Content?
    }

    private struct Content: Decodable {
        let result: [Result]
    }

    private struct Result: Decodable {
        let metric: [String: String]?
        let value: Point?
        let values: [Point]?
        let histogram: Point?
        let histograms: [Point]?
    }

    private struct Native: Decodable {
        let count: String
        let sum: String
        let buckets: [Bucket]?
    }

    /// `[rule, "low", "high", "count"]`
    private struct Bucket: Decodable {
        let bucket: Buckets.Bucket

        init(from decoder: any Decoder) throws {
            var list = try decoder.unkeyedContainer()
            _ = try list.decode(Int.self)
            let numbers = try (0..<3).map { _ in Double(try list.decode(String.self)) ?? 0 }
            bucket = Buckets.Bucket(low: numbers[0], high: numbers[1], count: numbers[2])
        }
    }

    /// `[time, "number"]` or `[time, histogram]`
    private struct Point: Decodable {
        let time: Double
        var value: Double?
        var buckets: Buckets?

        init(from decoder: any Decoder) throws {
            var list = try decoder.unkeyedContainer()
            time = try list.decode(Double.self)
            if let text = try? list.decode(String.self) {
                value = text == "+Inf" ? .infinity : Double(text)
            } else {
                let native = try list.decode(Native.self)
                buckets = Buckets(
                    buckets: (native.buckets ?? []).map(\.bucket).sorted { $0.high < $1.high },
                    sum: Double(native.sum) ?? 0)
            }
        }
    }
}
