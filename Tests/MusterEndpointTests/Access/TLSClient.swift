// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterPlatform
import MusterTestSupport

/// A TLS connection that stays, by openssl's client.
final class TLSClient {
    private let program: Program
    private let input: FileHandle
    private let pipe = Pipe()
    private let certificates: TestCertificates
    private var answers = 0

    init(_ bench: EndpointBench, _ certificates: TestCertificates) throws {
        guard case .tcp(_, let port) = bench.address else { throw Program.Ended(description: "no port") }
        self.certificates = certificates
        input = pipe.fileHandleForWriting
        program = try Program(
            find("openssl") ?? "openssl",
            ["s_client", "-connect", "127.0.0.1:\(port)", "-CAfile", certificates.certificate("ca"), "-nocommands"],
            input: pipe.fileHandleForReading)
    }

    /// Sends a request and returns all that has come once its answer is there.
    func ask(_ path: String) async throws -> String {
        try input.write(contentsOf: Data("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n".utf8))
        answers += 1
        let count = answers
        return try await program.wait(for: "an answer") {
            $0.output.components(separatedBy: "\r\n\r\nok").count > count ? $0.output : nil
        }
    }

    /// Whether the server has shown a certificate.
    func shows(_ name: String) async throws -> Bool {
        let output = try await program.wait(for: "the certificate") {
            $0.output.contains("-----END CERTIFICATE-----") && $0.output.contains("subject=") ? $0.output : nil
        }
        return output.contains("subject=CN = \(name)") || output.contains("subject=CN=\(name)")
    }

    /// Waits until the server has ended the connection.
    func end() async throws {
        _ = try await program.status()
    }
}
