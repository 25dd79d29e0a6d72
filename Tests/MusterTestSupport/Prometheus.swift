// SPDX-License-Identifier: Apache-2.0

import Foundation

/// A real Prometheus that scrapes once a second.
package final class Prometheus: Sendable {
    package static let binary = find("prometheus")
    package static var isInstalled: Bool { binary != nil }

    private let program: Program
    private let folder: TemporaryFolder
    /// Where it is served.
    package let url: String

    /// Starts Prometheus.
    ///
    /// - Parameters:
    ///   - targets: The address of each job, by the job's name.
    ///   - features: What is switched on with `--enable-feature`.
    package convenience init(targets: [String: String], features: [String] = []) async throws {
        var configuration = "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n"
        for (job, address) in targets.sorted(by: { $0.key < $1.key }) {
            configuration += "  - job_name: \(job)\n    static_configs:\n      - targets: ['\(address)']\n"
        }
        try await self.init(configuration: configuration, features: features)
    }

    /// Starts Prometheus and waits until it serves.
    ///
    /// - Parameters:
    ///   - configuration: The text of its configuration file; paths in it should be absolute.
    ///   - features: What is switched on with `--enable-feature`.
    package init(configuration: String, features: [String] = []) async throws {
        guard let binary = Prometheus.binary else {
            throw Program.Ended(description: "no prometheus on the PATH")
        }
        folder = try TemporaryFolder()
        let file = try folder.write(configuration, to: "prometheus.yml")
        // Prometheus takes no port 0, so a free one is found for it just before.
        let port = try freePort()
        url = "http://127.0.0.1:\(port)"
        program = try Program(
            binary,
            [
                "--config.file=\(file)", "--storage.tsdb.path=\(folder.path("data"))",
                "--web.listen-address=127.0.0.1:\(port)",
            ] + features.map { "--enable-feature=\($0)" })
        try await program.waitForErrors(containing: "Server is ready to receive web requests")
    }

    /// The samples that a query returns.
    package func query(_ expression: String) async throws -> [(labels: [String: String], value: Double)] {
        var allowed = CharacterSet.alphanumerics
        allowed.insert(charactersIn: "-._~")
        let escaped = expression.addingPercentEncoding(withAllowedCharacters: allowed) ?? ""
        let answer = try await HTTPAnswer.get(
            "\(url)/api/v1/query?query=\(escaped)", headers: ["Accept-Encoding": "identity"])
        let text = answer.headers["transfer-encoding"] == "chunked" ? dechunk(answer.body) : answer.body
        let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
        guard answer.status == 200, let data = object?["data"] as? [String: Any],
            let result = data["result"] as? [[String: Any]]
        else { throw Program.Ended(description: "query '\(expression)' failed: \(answer.body)") }
        return result.compactMap { sample in
            guard let labels = sample["metric"] as? [String: String], let pair = sample["value"] as? [Any],
                let text = pair.last as? String, let value = Double(text)
            else { return nil }
            return (labels, value)
        }
    }

    private func dechunk(_ body: String) -> String {
        var rest = Substring(body)
        var text = ""
        while let end = rest.range(of: "\r\n"), let size = Int(rest[..<end.lowerBound], radix: 16), size > 0 {
            let chunk = rest[end.upperBound...].utf8.prefix(size)
            text += String(decoding: chunk, as: UTF8.self)
            rest = rest[chunk.endIndex...].dropFirst(1)
            if rest.first == "\n" { rest = rest.dropFirst() }
        }
        return text
    }

    deinit { program.end() }
}
