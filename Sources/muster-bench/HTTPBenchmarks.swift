// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Glibc
import HTTPTypes
import Muster
import MusterEndpoint
import MusterHealth
import MusterMetrics
import MusterPlatform

/// Serving HTTP, against libmicrohttpd alone: requests for each second of the processor.
extension Benchmark {
    static var servingBenchmarks: [Benchmark] {
        [
            Benchmark(
                name: "http-requests",
                summary: "answers of 5 bytes for each second of the processor, against bare libmicrohttpd",
                measure: httpRequests),
            Benchmark(name: "http-connections", summary: "connections at rest", measure: httpConnections),
        ]
    }

    private static func httpRequests(_ effort: Effort) throws -> [Figure] {
        try LoadGenerator.requireInstalled()
        let seconds = effort(3, quick: 1)
        let bare = try StaticServer(body: Array("hello".utf8))
        defer { bare.stop() }
        let endpoint = Endpoint(
            configuration: EndpointConfiguration(address: .tcp(host: "127.0.0.1", port: 0)),
            metrics: Exposition(sources: []),
            health: HealthRegistry(runner: { _, _ in }, logger: Backends.silent), logger: Backends.silent)
        try endpoint.start()
        defer { endpoint.stop() }
        guard let url = endpoint.url else { throw BenchmarkError("the endpoint has no URL") }
        let servers = try [BackendType.cooperative, .threading].map { try ServedBackend($0) }
        defer { for server in servers { try? server.stop() } }

        let urls = [bare.url, url + "/livez"] + servers.map(\.url)
        // Once without counting, so that all have their memory.
        for url in urls { _ = try LoadGenerator.run(url: url, seconds: 1, connections: 16) }
        let rounds = try Rounds.run(
            effort(5, quick: 2), urls.map { url in { try perProcessorSecond(url, seconds: seconds) } })
        let reference = ("bare libmicrohttpd", rounds[0])
        return [
            Figure(
                "/livez of the endpoint", in: .perSecond, rounds[1], against: reference, limit: .ratioAtLeast(0.7)),
            Figure(
                "a handler on the cooperative backend", in: .perSecond, rounds[2], against: reference,
                limit: .ratioAtLeast(0.5)),
            Figure(
                "a handler on the threading backend", in: .perSecond, rounds[3], against: reference,
                limit: .ratioAtLeast(0.25)),
        ]
    }

    /// The servers are in this process, and the load is not.
    private static func perProcessorSecond(_ url: String, seconds: Int) throws -> Double {
        let start = (cmusterbench_now(), cmusterbench_process_time())
        let outcome = try LoadGenerator.run(url: url, seconds: seconds, connections: 16)
        let (wall, processor) = (cmusterbench_now() - start.0, cmusterbench_process_time() - start.1)
        return outcome.requestsPerSecond * Double(wall) / Double(max(1, processor))
    }

    private static func httpConnections(_ effort: Effort) throws -> [Figure] {
        let count = effort(10_000, quick: 2000)
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        guard limit.rlim_cur > UInt64(count * 2 + 100) else {
            throw BenchmarkSkipped("it needs \(count * 2 + 100) open files")
        }
        let server = try ServedBackend(.cooperative, connections: count + 100)
        defer { try? server.stop() }
        let request = Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
        // So that both sides have what they need once.
        var clients = try (0..<100).map { _ in try RawClient(server.port) }
        for client in clients { client.send(request) }
        for client in clients { _ = client.receive() }
        let before = residentBytes()
        clients += try (0..<count).map { _ in try RawClient(server.port) }
        for client in clients.suffix(count) { client.send(request) }
        for client in clients.suffix(count) { _ = client.receive() }
        let after = residentBytes()
        // What is still to be done after the last responses.
        usleep(200_000)
        let idle = cmusterbench_process_time()
        let wall = effort(5, quick: 1)
        usleep(UInt32(wall) * 1_000_000)
        let used = Double(cmusterbench_process_time() - idle) / Double(wall) / 1e9
        return [
            Figure(
                "memory of a connection at rest", in: .bytes, [Double(max(0, after - before)) / Double(count)],
                limit: .valueAtMost(6 * 1024), note: "\(count) connections, their clients included"),
            Figure("\(count) connections at rest", in: .processors, [used], limit: .valueAtMost(0.001)),
        ]
    }

    private static func residentBytes() -> Int {
        let text = SmallFile.beginning(of: "/proc/self/statm") ?? ""
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }
}

/// A server of five bytes on a backend of its own.
private final class ServedBackend {
    let port: UInt16
    var url: String { "http://127.0.0.1:\(port)/" }
    private let backend: Backend
    private let server: HTTPServer
    private let socket: ListeningSocket

    init(_ type: BackendType, connections: Int = 1000) throws {
        socket = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "address")
        guard case .tcp(_, let port) = socket.address else { throw BenchmarkError("the server has no port") }
        self.port = port
        backend = try Backends.make(type)
        var limits = HTTPServer.Limits()
        limits.connections = connections
        server = HTTPServer(socket: socket, limits: limits, backend: backend) { routes in
            routes.get("/") { _ in .text("hello") }
        }
        try Blocking.run { [server] in try await server.start() }
    }

    func stop() throws {
        try Blocking.run { [server] in try await server.stop(graceful: false, until: nil) }
        socket.closeDescriptor()
        try Backends.shutDown(backend)
    }
}
