// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import CMusterBench
import Glibc
import MusterEndpoint
import MusterHealth
import MusterMetrics
import MusterPlatform
import Synchronization

extension Benchmark {
    /// How long a probe takes while others keep the endpoint busy, against an endpoint that is left alone.
    static var probes: [Benchmark] {
        ProbeLoad.all.map { load in
            Benchmark(name: "probe-\(load.key)", summary: "a probe beside \(load.name)") { effort in
                try LoadGenerator.requireInstalled()
                let count = effort(1000, quick: 200)
                let bench = try ProbedEndpoint(load)
                defer { bench.stop() }
                let idle = try bench.probe(count)
                let crowd = try load.start(bench)
                let busy: [Double]
                do {
                    defer { crowd.stop() }
                    // Until what the load costs at its beginning is over.
                    _ = try bench.probe(count / 5)
                    busy = try bench.probe(count)
                }
                return [("median", 0.5), ("p99", 0.99)].map { part, quantile in
                    Figure(
                        "\(load.isSecure ? "answer to a TLS hello" : "/livez"), \(part)", in: .nanoseconds,
                        [Statistics.quantile(quantile, of: busy)],
                        against: ("alone", [Statistics.quantile(quantile, of: idle)]),
                        limit: part == "p99" ? .valueAtMost(1e7) : .none,
                        note: "beside \(load.name)")
                }
            }
        }
    }
}

/// What keeps the endpoint busy.
struct ProbeLoad {
    let key: String
    let name: String
    var series = 1000
    var isSecure = false
    let start: (ProbedEndpoint) throws -> any Crowd

    static var all: [ProbeLoad] {
        [
            ProbeLoad(key: "scrapes", name: "8 scrapers of 4 MiB", series: 75_000) { Scrapers($0, connections: 8) },
            ProbeLoad(key: "compressed", name: "8 scrapers of 4 MiB, compressed", series: 75_000) {
                Scrapers($0, connections: 8, compressed: true)
            },
            ProbeLoad(key: "large", name: "2 scrapers of 48 MiB", series: 900_000) { Scrapers($0, connections: 2) },
            ProbeLoad(key: "pipelined", name: "1,000 clients with 8 scrapes in one go") {
                try RudeClients($0.port, count: 1000, says: .scrapes(8), reads: true)
            },
            ProbeLoad(key: "unread", name: "100 scrapers of 4 MiB that do not read", series: 75_000) {
                try RudeClients($0.port, count: 100, says: .scrapes(1), reads: false)
            },
            ProbeLoad(key: "trickle", name: "1,000 clients that send a byte now and then") {
                try RudeClients($0.port, count: 1000, says: .bytes, reads: false)
            },
            ProbeLoad(key: "handshakes", name: "600 unfinished handshakes", isSecure: true) {
                try RudeClients($0.port, count: 600, says: .hello, reads: false)
            },
        ]
    }
}

/// Clients that go on until they are stopped.
protocol Crowd {
    func stop()
}

/// An endpoint that is probed.
final class ProbedEndpoint {
    let endpoint: Endpoint
    let port: UInt16
    let isSecure: Bool
    /// Opened when metrics are rendered for the first time.
    let firstScrape: Latch
    private let files: TLSFiles?

    init(_ load: ProbeLoad) throws {
        let registry = try Backends.registry(capacity: max(1 << 22, load.series * 256))
        try Benchmark.addSeries(load.series, to: registry)
        isSecure = load.isSecure
        files = load.isSecure ? try TLSFiles() : nil
        var configuration = EndpointConfiguration(address: .tcp(host: "127.0.0.1", port: 0))
        configuration.webConfigFile = files?.config
        let renderer = NotedRenderer(
            Exposition(sources: [ArenaSource(reader: try registry.reader(), constantLabels: [])]))
        firstScrape = renderer.isUsed
        endpoint = Endpoint(
            configuration: configuration, metrics: renderer,
            health: HealthRegistry(runner: { _, _ in }, logger: Backends.silent), logger: Backends.silent)
        try endpoint.start()
        guard case .tcp(_, let port)? = endpoint.address else { throw BenchmarkError("the endpoint has no port") }
        self.port = port
    }

    func stop() {
        endpoint.stop()
        files?.remove()
    }

    func probe(_ count: Int) throws -> [Double] {
        try Self.probe(
            count, port, isSecure ? ClientHello.bytes : Array("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".utf8))
    }

    /// Probes over new connections, as the kubelet does, one after the other. Returns how long each took, in nanoseconds.
    static func probe(_ count: Int, _ port: UInt16, _ request: [UInt8]) throws -> [Double] {
        try (0..<count).map { _ in
            // So that they are spread over what the others do.
            usleep(2000)
            let start = MonotonicInstant.now
            let client = try RawClient(port)
            client.send(request)
            guard client.receive() > 0 else { throw BenchmarkError("a probe got no answer") }
            return Double(start.duration(to: .now).clampedNanoseconds)
        }
    }
}

/// Tells when it has been used.
private final class NotedRenderer: MetricsRenderer {
    let isUsed = Latch()
    private let exposition: Exposition

    init(_ exposition: Exposition) {
        self.exposition = exposition
    }

    func render(_ format: ExpositionFormat, names: Set<String>, into memory: GrowingBytes) {
        exposition.render(format, names: names, into: memory)
        isUsed.open()
    }
}

/// A connection.
final class RawClient {
    let descriptor: Int32

    init(_ port: UInt16, receiveBuffer: Int32? = nil) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw BenchmarkError("no socket: errno \(errno)") }
        if var receiveBuffer {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receiveBuffer, socklen_t(MemoryLayout<Int32>.size))
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else { throw BenchmarkError("no connection: errno \(errno)") }
    }

    deinit {
        close(descriptor)
    }

    func send(_ bytes: [UInt8]) {
        _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    /// Waits for bytes; 0 or less at the end.
    func receive(_ flags: Int = 0) -> Int {
        withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 16) {
            recv(descriptor, $0.baseAddress, $0.count, Int32(flags))
        }
    }
}

/// wrk, in turns of a few seconds.
private final class Scrapers: Crowd, Sendable {
    private let isStopping = Atomic(false)
    private let done = Latch()

    init(_ bench: ProbedEndpoint, connections: Int, compressed: Bool = false) {
        let url = "http://127.0.0.1:\(bench.port)/metrics"
        let began = Latch()
        try? NativeThread.start(name: "bench-scrapers") { [self] in
            began.open()
            while !isStopping.load(ordering: .relaxed) {
                // Those that take longer than wrk waits are told as errors.
                _ = try? LoadGenerator.run(url: url, seconds: 2, connections: connections, compressed: compressed)
            }
            done.open()
        }
        began.wait()
        bench.firstScrape.wait()
    }

    func stop() {
        isStopping.store(true, ordering: .relaxed)
        done.wait()
    }
}

/// Many connections of one thread, that come again when they are ended.
final class RudeClients: Crowd, Sendable {
    enum Saying {
        /// Requests of metrics, as many in one go.
        case scrapes(Int)
        /// A request that never ends.
        case bytes
        /// A byte of a TLS handshake, half of one, or one that is not followed up.
        case hello
    }

    private let isStopping = Atomic(false)
    private let done = Latch()

    init(_ port: UInt16, count: Int, says: Saying, reads: Bool) throws {
        let began = Latch()
        try NativeThread.start(name: "bench-clients") { [self] in
            var clients: [RawClient] = []
            var next = 0
            while !isStopping.load(ordering: .relaxed) {
                // Twenty at a time, so that connecting itself is not what is measured.
                for _ in 0..<20 {
                    guard let client = try? RawClient(port, receiveBuffer: reads ? nil : 4096) else { continue }
                    client.send(says.bytes(of: next))
                    if clients.count < count { clients.append(client) } else { clients[next % count] = client }
                    next += 1
                }
                if next >= count { began.open() }
                if reads {
                    for client in clients { while client.receive(Int(MSG_DONTWAIT)) > 0 {} }
                } else if case .bytes = says {
                    for client in clients { client.send([UInt8(ascii: "x")]) }
                }
                usleep(next < count ? 100 : 20_000)
            }
            done.open()
        }
        began.wait()
    }

    func stop() {
        isStopping.store(true, ordering: .relaxed)
        done.wait()
    }
}

extension RudeClients.Saying {
    fileprivate func bytes(of number: Int) -> [UInt8] {
        switch self {
        case .scrapes(let count):
            Array(String(repeating: "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", count: count).utf8)
        case .bytes: Array("GET /livez HTTP/1.1\r\nHost: ".utf8)
        case .hello:
            Array(ClientHello.bytes.prefix([1, ClientHello.bytes.count / 2, ClientHello.bytes.count][number % 3]))
        }
    }
}

/// A certificate for the time of a measurement.
private final class TLSFiles {
    private let folder: String
    var config: String { folder + "/web.yml" }

    init() throws {
        let place = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(place)/muster-bench-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw BenchmarkError("no temporary folder: errno \(errno)") }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        do {
            _ = try LoadGenerator.output([
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                "1", "-subj", "/CN=bench", "-keyout", folder + "/tls.key", "-out", folder + "/tls.crt",
            ])
        } catch {
            throw BenchmarkSkipped("it needs openssl (Debian's package of that name)")
        }
        let text = "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n"
        let file = open(config, O_WRONLY | O_CREAT, 0o600)
        _ = write(file, text, text.utf8.count)
        close(file)
    }

    func remove() {
        for name in ["web.yml", "tls.key", "tls.crt"] { unlink(folder + "/" + name) }
        rmdir(folder)
    }
}

/// The first message of a TLS client (RFC 8446, 4.1.2): TLS 1.2 and 1.3, X25519, P-256.
private enum ClientHello {
    static let bytes: [UInt8] = {
        func block(_ lengthBytes: Int, _ content: [UInt8]) -> [UInt8] {
            (0..<lengthBytes).reversed().map { UInt8(truncatingIfNeeded: content.count >> ($0 * 8)) } + content
        }
        func `extension`(_ type: UInt8, _ content: [UInt8]) -> [UInt8] { [0, type] + block(2, content) }
        let random = [UInt8](repeating: 7, count: 32)
        let suites: [UInt8] = [0x13, 0x01, 0x13, 0x02, 0xC0, 0x2B, 0xC0, 0x2F]
        // Nine is the number of X25519's base point, and as good as any.
        let share = [0x00, 0x1D] + block(2, [9] + [UInt8](repeating: 0, count: 31))
        let extensions =
            `extension`(10, block(2, [0x00, 0x1D, 0x00, 0x17]))
            + `extension`(13, block(2, [0x04, 0x03, 0x08, 0x04, 0x04, 0x01]))
            + `extension`(43, block(1, [0x03, 0x04, 0x03, 0x03])) + `extension`(51, block(2, share))
        let body =
            [0x03, 0x03] + random + block(1, []) + block(2, suites) + block(1, [0]) + block(2, extensions)
        return [22, 3, 1] + block(2, [1] + block(3, body))
    }()
}
