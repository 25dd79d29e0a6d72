// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

/// A real Prometheus that scrapes once a second.
final class Prometheus: Sendable {
    static let binary = find("prometheus")
    static var isInstalled: Bool { binary != nil }

    private let program: Program
    private let folder: TemporaryFolder
    private let url: String

    /// Starts Prometheus.
    ///
    /// - Parameter targets: The address of each job, by the job's name.
    init(targets: [String: String]) async throws {
        folder = try TemporaryFolder()
        var configuration = "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n"
        for (job, address) in targets.sorted(by: { $0.key < $1.key }) {
            configuration += "  - job_name: \(job)\n    static_configs:\n      - targets: ['\(address)']\n"
        }
        let file = try folder.write(configuration, to: "prometheus.yml")
        // Prometheus takes no port 0, so a free one is found for it just before.
        let port = try freePort()
        url = "http://127.0.0.1:\(port)"
        program = try Program(
            try #require(Prometheus.binary),
            [
                "--config.file=\(file)", "--storage.tsdb.path=\(folder.path("data"))",
                "--web.listen-address=127.0.0.1:\(port)",
            ])
        try await program.waitForErrors(containing: "Server is ready to receive web requests")
    }

    /// The samples that a query returns.
    func query(_ expression: String) async throws -> [(labels: [String: String], value: Double)] {
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

/// Finds a program on the PATH.
func find(_ name: String) -> String? {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":")
    return folders.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
}

/// A port of the loopback interface that was free a moment ago.
func freePort() throws -> UInt16 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, length) == 0 ? getsockname(descriptor, $0, &length) : -1
        }
    }
    guard code == 0 else { throw Program.Ended(description: "no free port: errno \(errno)") }
    return UInt16(bigEndian: address.sin_port)
}
