// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterMetrics
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

private let hasTools = TestCertificates.areAvailable && find("curl") != nil

@Suite("Access: handshakes that are not finished", .enabled(if: hasTools, "install openssl and curl"), .serialized)
struct HandshakeTests {
    private static let made = Result { try TestCertificates() }

    private let certificates: TestCertificates
    private let config: WebConfigFolder
    private let used = Box(Duration.zero)

    init() throws {
        certificates = try Self.made.get()
        config = try WebConfigFolder(
            "tls_server_config: {cert_file: \(certificates.certificate("server")), key_file: \(certificates.key("server"))}"
        )
    }

    private func bench(
        registry: MetricRegistry? = nil, _ change: (inout EndpointConfiguration) -> Void = { _ in }
    ) throws -> EndpointBench {
        try EndpointBench(registry: registry) {
            $0.webConfigFile = config.file
            change(&$0)
        }
    }

    private func curl(_ bench: EndpointBench, _ options: [String] = []) async throws -> String {
        let program = try Program(
            find("curl") ?? "curl",
            [
                "-sS", "--max-time", "30", "--cacert", certificates.certificate("ca"),
                (bench.endpoint.url ?? "") + "/livez",
            ]
                + options)
        _ = try await program.status()
        return program.output + program.errors
    }

    /// The first record of a real client.
    private func hello() async throws -> [UInt8] {
        let socket = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "address")
        defer { socket.closeDescriptor() }
        guard case .tcp(_, let port) = socket.address else { return [] }
        let program = try Program(find("openssl") ?? "openssl", ["s_client", "-connect", "127.0.0.1:\(port)"])
        var ready = pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0)
        #expect(poll(&ready, 1, 30_000) == 1)
        let connection = accept(socket.descriptor, nil, nil)
        defer { close(connection) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        var count = 0
        while count < 5 || count < 5 + Int(bytes[3]) << 8 + Int(bytes[4]) {
            let read = bytes.withUnsafeMutableBytes {
                recv(connection, $0.baseAddress?.advanced(by: count), 4096 - count, 0)
            }
            guard read > 0 else { break }
            count += read
        }
        program.end()
        return Array(bytes.prefix(count))
    }

    /// The processor time that the endpoint's thread has used, by a check that it runs.
    private func processorTime(of bench: EndpointBench) async throws -> Duration {
        #expect(try await curl(bench) == "ok")
        return used.value
    }

    @Test(
        "Waiting for the rest of one costs no processor time, and ends after a time of its own",
        arguments: [0, 1, 5, 100, 10_000])
    func stalled(length: Int) async throws {
        let bench = try bench { $0.handshakeTimeout = .seconds(1) }
        try bench.health.register(
            .probe("clock", .live) { [used] in
                var time = timespec()
                clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
                used.change { $0 = .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec) }
                return .pass
            })
        let before = try await processorTime(of: bench)
        let hello = Array(try await hello().prefix(length))
        let clients = try (0..<4).map { _ in try bench.client() }
        for client in clients { client.send(hello) }
        // Each ends, by itself.
        for client in clients { _ = try client.rest() }
        // A thread that is awake for that second uses all of it.
        let used = try await processorTime(of: bench) - before
        #expect(used < .milliseconds(300), "\(used)")
    }

    @Test("One that comes byte by byte is finished")
    func trickled() async throws {
        let bench = try bench()
        let hello = try await hello()
        let client = try bench.client()
        for byte in hello { client.send([byte]) }
        // The server's part begins: a handshake record.
        var first: UInt8 = 0
        #expect(recv(client.descriptor, &first, 1, 0) == 1)
        #expect(first == 22)
    }

    @Test("600 of them, with a byte, a half or a whole hello, keep no probe out, and the oldest make room")
    func crowd() async throws {
        let bench = try bench()
        let hello = try await hello()
        var clients: [TestClient] = []
        for number in 0..<600 {
            let client = try bench.client()
            client.send(Array(hello.prefix([1, hello.count / 2, hello.count][number % 3])))
            clients.append(client)
            if number % 100 == 99 { #expect(try await curl(bench) == "ok") }
        }
        #expect(try await curl(bench) == "ok")
        #expect(bench.log.messages.contains { $0.contains("too many connections to the endpoint; closing") })
        _ = try clients[0].rest()
        // Two requests on one connection: it has not been ended between them.
        #expect(
            try await curl(
                bench,
                ["--next", "--cacert", certificates.certificate("ca"), "-sS", (bench.endpoint.url ?? "") + "/livez"])
                == "okok")
    }

    @Test("A client that is silent after its handshake is silent, not stalled")
    func silent() async throws {
        let bench = try bench {
            $0.handshakeTimeout = .milliseconds(300)
            $0.idleTimeout = .seconds(3600)
        }
        let client = try TLSClient(bench, certificates)
        #expect(try await client.shows("server"))
        let rude = try bench.client()
        #expect(try rude.rest() == "")
        #expect(try await client.ask("/livez").contains("ok"))
    }

    @Test("The endpoint stops with some under way")
    func stopping() async throws {
        let bench = try bench()
        let hello = try await hello()
        let clients = try (0..<20).map { _ in try bench.client() }
        for (number, client) in clients.enumerated() { client.send(Array(hello.prefix(number * 20))) }
        #expect(try await curl(bench) == "ok")
        bench.endpoint.stop()
        for client in clients { _ = try client.rest() }
        try bench.endpoint.start()
    }
}
