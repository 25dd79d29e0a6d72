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
            Benchmark(
                name: "http-hummingbird",
                summary: "the same handler in Hummingbird: answers for each second of the processor",
                measure: httpHummingbird),
            Benchmark(name: "http-connections", summary: "connections at rest", measure: httpConnections),
            Benchmark(
                name: "http-slow-clients", summary: "a request beside 1,000 slow clients", measure: httpSlowClients),
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

    /// The load is in another process than the server.
    private static func perProcessorSecond(_ url: String, seconds: Int, of process: Int32 = getpid()) throws -> Double {
        let start = (cmusterbench_now(), cmusterbench_processor_time(process))
        let outcome = try LoadGenerator.run(url: url, seconds: seconds, connections: 16)
        let (wall, processor) = (cmusterbench_now() - start.0, cmusterbench_processor_time(process) - start.1)
        return outcome.requestsPerSecond * Double(wall) / Double(max(1, processor))
    }

    private static func httpHummingbird(_ effort: Effort) throws -> [Figure] {
        try LoadGenerator.requireInstalled()
        let seconds = effort(3, quick: 1)
        let reference = try ReferenceServer("muster-bench-hummingbird")
        let server = try ServedBackend(.cooperative)
        defer { try? server.stop() }
        for url in [reference.url, server.url] { _ = try LoadGenerator.run(url: url, seconds: 1, connections: 16) }
        let rounds = try Rounds.run(
            effort(5, quick: 2),
            [
                { try perProcessorSecond(reference.url, seconds: seconds, of: reference.pid) },
                { try perProcessorSecond(server.url, seconds: seconds) },
            ])
        return [
            Figure(
                "a handler on the cooperative backend", in: .perSecond, rounds[1],
                against: ("Hummingbird on one event loop", rounds[0]), limit: .ratioAtLeast(2))
        ]
    }

    private static func httpSlowClients(_ effort: Effort) throws -> [Figure] {
        let count = effort(1000, quick: 200)
        let request = Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
        return try [BackendType.cooperative, .threading].map { type in
            let server = try ServedBackend(type)
            defer { try? server.stop() }
            let idle = try ProbedEndpoint.probe(count, server.port, request)
            let crowd = try RudeClients(server.port, count: 1000, says: .bytes, reads: false)
            defer { crowd.stop() }
            let busy = try ProbedEndpoint.probe(count, server.port, request)
            return Figure(
                "a request, \(type), p99", in: .nanoseconds, [Statistics.quantile(0.99, of: busy)],
                against: ("alone", [Statistics.quantile(0.99, of: idle)]), limit: .valueAtMost(1e7),
                note: "beside 1,000 clients that send a byte now and then")
        }
    }

    private static func httpConnections(_ effort: Effort) throws -> [Figure] {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        // Both ends are in this process.
        let count = min(effort(10_000, quick: 2000), Int(limit.rlim_cur) / 2 - 200)
        guard count >= 1000 else { throw BenchmarkSkipped("it needs a limit of 2400 open files or more") }
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

/// A server in a process of its own, which says at which port.
private final class ReferenceServer {
    let pid: Int32
    let url: String
    private let output: Int32

    init(_ name: String) throws {
        let path = try BesideThis.path(of: name)
        var ends: [Int32] = [0, 0]
        guard cmusterbench_pipe(&ends) else { throw BenchmarkError("no pipe for \(name): errno \(errno)") }
        output = ends[0]
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
        var arguments = [strdup(name), nil]
        defer { free(arguments[0]) }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, path, &actions, nil, &arguments, environ)
        close(ends[1])
        guard code == 0 else {
            close(output)
            throw BenchmarkError("\(path) could not be started: errno \(code)")
        }
        self.pid = pid
        var line = [UInt8](repeating: 0, count: 64)
        let count = max(0, read(output, &line, line.count))
        url = "http://127.0.0.1:\(String(decoding: line[..<count], as: UTF8.self).prefix { $0.isNumber })/"
    }

    deinit {
        kill(pid, SIGTERM)
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        close(output)
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
