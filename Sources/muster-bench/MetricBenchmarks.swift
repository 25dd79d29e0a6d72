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
    static func counterUpdates(_ effort: Effort) throws -> [Figure] {
        let counter = try Backends.registry().counter("bench_updates_total", help: "Updates.")
        let fractions = try Backends.registry().floatingPointCounter("bench_fractions_total", help: "Updates.")
        let cell = try SharedCell()
        let count = 200_000
        let times = try Rounds.run(
            effort(201, quick: 51),
            [
                { Self.time(count) { increment(counter, times: count) } },
                { Self.time(count) { increment(fractions, times: count) } },
                { Self.time(count) { addAtomically(to: cell.pointer, times: count) } },
                { Self.time(count) { cmusterbench_atomic_adds(cell.word, count) } },
            ])
        let reference = (name: "atomic add in C", values: times[3])
        return [
            Figure("increment", in: .nanoseconds, times[0], against: reference, limit: .ratioAtMost(1.5)),
            Figure("increment by a fraction", in: .nanoseconds, times[1], against: reference),
            Figure("Swift's Atomic", in: .nanoseconds, times[2], against: reference),
        ]
    }

    static func histogramUpdates(_ effort: Effort) throws -> [Figure] {
        let registry = try Backends.registry()
        let histogram = try registry.histogram("bench_seconds", help: "Values.", unit: .seconds, buckets: .seconds)
        let precise = try registry.histogram(
            "bench_precise_seconds", help: "Values.", unit: .seconds, buckets: .preciseSeconds)
        let cell = try SharedCell()
        let count = 200_000
        // Spread evenly over the buckets and beyond, so that no branch can be guessed.
        var random = SplitMix64(seed: 1)
        let bounds = HistogramBuckets.seconds.bounds
        let values = (0..<1024).map { _ in
            let bucket = Int(random.next() % UInt64(bounds.count + 1))
            return (bucket < bounds.count ? bounds[bucket] : bounds[bucket - 1] * 2) * 0.999
        }
        // The same, over the whole range of a precise one.
        let spread = (0..<1024).map { _ in
            let significand = 1 + Double(random.next() % 1000) / 1000
            return Double(sign: .plus, exponent: Int(random.next() % 30) - 20, significand: significand)
        }
        let durations = values.map { Duration.nanoseconds(Int64($0 * 1e9)) }
        let times = try Rounds.run(
            effort(201, quick: 51),
            [
                { Self.time(count) { observe(histogram, values, times: count) } },
                { Self.time(count) { observe(histogram, durations, times: count) } },
                { Self.time(count) { observe(precise, spread, times: count) } },
                { Self.time(count) { cmusterbench_atomic_adds(cell.word, count) } },
            ])
        let reference = (name: "atomic add in C", values: times[3])
        return [
            Figure(
                "observation, \(bounds.count + 1) buckets", in: .nanoseconds, times[0], against: reference,
                limit: .ratioAtMost(4)),
            Figure("observation of a Duration", in: .nanoseconds, times[1], against: reference),
            Figure(
                "observation of a precise one", in: .nanoseconds, times[2], against: reference,
                limit: .ratioAtMost(4)),
        ]
    }

    /// Nanoseconds for one of several equal steps.
    private static func time(_ count: Int, _ work: () -> Void) -> Double {
        let start = cmusterbench_now()
        work()
        return Double(cmusterbench_now() - start) / Double(count)
    }

    // Each loop is a function of its own, as in C, so that nothing is hoisted out of it that a caller has to do.

    @inline(never)
    private static func increment(_ counter: CounterMetric, times: Int) {
        for _ in 0..<times { counter.increment() }
    }

    @inline(never)
    private static func increment(_ counter: FloatingPointCounterMetric, times: Int) {
        for _ in 0..<times { counter.increment(by: 0.5) }
    }

    @inline(never)
    private static func addAtomically(to cell: UnsafeMutablePointer<Atomic<UInt64>>, times: Int) {
        for _ in 0..<times { cell.pointee.wrappingAdd(1, ordering: .relaxed) }
    }

    @inline(never)
    private static func observe(_ histogram: HistogramMetric, _ values: [Double], times: Int) {
        for index in 0..<times { histogram.observe(values[index & 1023]) }
    }

    @inline(never)
    private static func observe(_ histogram: HistogramMetric, _ values: [Duration], times: Int) {
        for index in 0..<times { histogram.observe(values[index & 1023]) }
    }
}

extension Benchmark {
    static func rendering(_ effort: Effort) throws -> [Figure] {
        let series = 10_000
        let exposition = try exposition(series: series)
        return [try renderings(of: exposition, series: series, effort)]
            + (try protobuf(exposition, series: series, effort))
    }

    /// Renders in protobuf in turns with text: counters, and precise histograms of which ten buckets are in use.
    private static func protobuf(_ counters: Exposition, series: Int, _ effort: Effort) throws -> [Figure] {
        let registry = try Backends.registry(capacity: 16 << 20)
        let family = try registry.histogramFamily(
            "bench_wait_seconds", help: "Wait.", unit: .seconds, buckets: .lateness, labelNames: ["path"])
        let histograms = 1000
        for number in 0..<histograms {
            let histogram = family.labels("/items/\(number)")
            for bucket in 0..<10 { histogram.observe(0.001 + 0.0001 * Double(bucket)) }
        }
        let exposition = Exposition(
            sources: [ArenaSource(reader: try registry.reader(), constantLabels: [("worker", "0")])],
            logger: Backends.silent)
        let buffer = GrowingBytes()
        let kinds = [("\(series) series", counters), ("\(histograms) precise histograms", exposition)]
        return try kinds.map { name, exposition in
            func time(_ format: ExpositionFormat) -> Double {
                let start = cmusterbench_now()
                exposition.render(format, into: buffer)
                return Double(cmusterbench_now() - start)
            }
            let times = try Rounds.run(effort(51, quick: 11), [{ time(.protobuf) }, { time(.text) }])
            exposition.render(.text, into: buffer)
            let textSize = buffer.count / 1024
            exposition.render(.protobuf, into: buffer)
            return Figure(
                "\(name) in protobuf, \(buffer.count / 1024) KiB", in: .nanoseconds, times[0],
                against: ("the same in text, \(textSize) KiB", times[1]))
        }
    }

    /// Renders an exposition in turns with putting the same text together in C.
    static func renderings(of exposition: Exposition, series: Int, _ effort: Effort) throws -> Figure {
        let buffer = GrowingBytes()
        exposition.render(.text, into: buffer)
        let text = buffer.withBytes { Array($0) }
        let lines = ExpositionLines(text)
        guard lines.valueCount >= series, lines.render() == text else {
            throw BenchmarkError("the reference does not write the same text")
        }
        let passes = 2
        let times = try Rounds.run(
            effort(201, quick: 51),
            [
                {
                    let start = cmusterbench_now()
                    for _ in 0..<passes { exposition.render(.text, into: buffer) }
                    return Double(cmusterbench_now() - start) / Double(passes)
                },
                {
                    let start = cmusterbench_now()
                    for _ in 0..<passes { lines.renderAgain() }
                    return Double(cmusterbench_now() - start) / Double(passes)
                },
            ])
        return Figure(
            "\(series) series, \(buffer.count / 1024) KiB", in: .nanoseconds, times[0],
            against: ("copy the text, write the numbers, in C", times[1]), limit: .ratioAtMost(3))
    }

    /// An exposition of one worker's counters.
    static func exposition(series: Int, registry: MetricRegistry? = nil) throws -> Exposition {
        let registry = try registry ?? Backends.registry(capacity: 16 << 20)
        try addSeries(series, to: registry)
        let reader = try ArenaReader(descriptor: registry.arena.descriptor.rawValue)
        return Exposition(
            sources: [ArenaSource(reader: reader, constantLabels: [("worker", "0")], logger: Backends.silent)],
            logger: Backends.silent)
    }

    /// An exposition of several workers' counters, as a supervisor has it.
    static func exposition(series: Int, workers: Int) throws -> Exposition {
        let sources = try (0..<workers).map { worker in
            let registry = try Backends.registry(capacity: 16 << 20)
            try addSeries(series, to: registry)
            let descriptor = fcntl(registry.arena.descriptor.rawValue, F_DUPFD_CLOEXEC, 0)
            guard descriptor >= 0 else { throw BenchmarkError("no descriptor: errno \(errno)") }
            let source = SlotSource(
                constantLabels: [("worker", "\(worker)"), ("worker_group", "bench")], logger: Backends.silent)
            source.use(arena: OwnedDescriptor(descriptor))
            return source
        }
        return Exposition(sources: sources, logger: Backends.silent)
    }

    /// Registers counters with two labels and values of all lengths.
    static func addSeries(_ series: Int, to registry: MetricRegistry) throws {
        let family = try registry.counterFamily(
            "bench_requests_total", help: "Requests.", labelNames: ["method", "path"], seriesLimit: series)
        var random = SplitMix64(seed: 3)
        for number in 0..<series {
            let digits = random.next() % 10
            var limit: UInt64 = 10
            for _ in 0..<digits { limit *= 10 }
            family.labels("get", "/items/\(number)").increment(by: Int(random.next() % limit))
        }
        guard registry.arena.droppedSeries == 0 else { throw BenchmarkError("the arena is too small") }
    }
}

extension Benchmark {
    static func scraping(_ effort: Effort) throws -> [Figure] {
        try LoadGenerator.requireInstalled()
        let registry = try Backends.registry()
        let exposition = try Self.exposition(series: 830, registry: registry)
        let endpoint = Endpoint(
            configuration: EndpointConfiguration(address: .tcp(host: "127.0.0.1", port: 0)), metrics: exposition,
            health: HealthRegistry(runner: { _, _ in }, logger: Backends.silent), registry: registry,
            logger: Backends.silent)
        try endpoint.start()
        defer { endpoint.stop() }
        guard let url = endpoint.url else { throw BenchmarkError("the endpoint has no URL") }
        let body = exposition.rendered(.text)
        let server = try StaticServer(body: body)
        defer { server.stop() }

        let seconds = effort(2, quick: 1)
        // Once without counting, so that both have their memory.
        _ = try LoadGenerator.run(url: url + "/metrics", seconds: 1)
        let rounds = try Rounds.run(
            effort(5, quick: 2),
            [
                { try LoadGenerator.run(url: url + "/metrics", seconds: seconds) },
                { try LoadGenerator.run(url: server.url, seconds: seconds) },
                { try LoadGenerator.run(url: url + "/metrics", seconds: seconds, compressed: true) },
            ])
        let size = "\(body.count / 1024) KiB"
        let reference = "the same bytes, static"
        return [
            Figure(
                "/metrics of \(size)", in: .perSecond, rounds[0].map(\.requestsPerSecond),
                against: (reference, rounds[1].map(\.requestsPerSecond)), limit: .ratioAtLeast(0.6)),
            Figure(
                "median time of /metrics, 8 connections", in: .nanoseconds, rounds[0].map(\.medianTime),
                against: (reference, rounds[1].map(\.medianTime))),
            Figure(
                "/metrics, compressed", in: .perSecond, rounds[2].map(\.requestsPerSecond),
                against: (reference + ", not compressed", rounds[1].map(\.requestsPerSecond))),
        ]
    }
}

/// The lines of an exposition taken apart, for a reference that only puts them together again.
final class ExpositionLines {
    private let text: UnsafeMutablePointer<UInt8>
    private let target: UnsafeMutablePointer<UInt8>
    private let lines: [cmusterbench_line]

    /// Takes apart a text whose values are all whole numbers.
    init(_ bytes: [UInt8]) {
        text = .allocate(capacity: bytes.count)
        text.initialize(from: bytes, count: bytes.count)
        target = .allocate(capacity: bytes.count + 32)
        target.initialize(repeating: 0, count: bytes.count + 32)
        var lines: [cmusterbench_line] = []
        var start = 0
        for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: true) {
            var length = line.count
            var value: UInt64?
            if line.first != UInt8(ascii: "#"), let space = line.lastIndex(of: UInt8(ascii: " ")) {
                value = UInt64(String(decoding: line[(space + 1)...], as: UTF8.self))
                if value != nil { length = space + 1 - line.startIndex }
            }
            lines.append(
                cmusterbench_line(
                    text: text + start, length: length, value: value ?? 0, has_value: value != nil))
            start += line.count + 1
        }
        self.lines = lines
    }

    deinit {
        text.deallocate()
        target.deallocate()
    }

    var valueCount: Int { lines.count { $0.has_value } }

    func render() -> [UInt8] {
        let count = cmusterbench_render(lines, lines.count, target)
        return Array(UnsafeBufferPointer(start: target, count: count))
    }

    func renderAgain() {
        _ = cmusterbench_render(lines, lines.count, target)
    }
}

/// A bare HTTP server of the same library as Muster's endpoint, on a thread of its own, that answers each request
/// with the same prepared response.
final class StaticServer {
    let url: String
    private let daemon: OpaquePointer
    private let response: OpaquePointer

    init(body: [UInt8]) throws {
        if let problem = cmicrohttpd_load() { throw BenchmarkError(String(cString: problem)) }
        let (socket, port) = try Self.listen()
        var body = body
        guard let response = MHD_create_response_from_buffer(body.count, &body, .RESPMEM_MUST_COPY) else {
            throw BenchmarkError("no response for the static server")
        }
        MHD_add_response_header(response, "Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        var options = [
            MHD_OptionItem(option: .LISTEN_SOCKET, value: Int(socket), ptr_value: nil),
            MHD_OptionItem(option: .END, value: 0, ptr_value: nil),
        ]
        let daemon = options.withUnsafeMutableBufferPointer { options -> OpaquePointer? in
            guard let first = options.baseAddress else { return nil }
            return withVaList([MHD_OPTION.ARRAY.rawValue, first, MHD_OPTION.END.rawValue]) {
                MHD_start_daemon_va(
                    MHD_USE_EPOLL_INTERNAL_THREAD.rawValue, 0, nil, nil, answer, UnsafeMutableRawPointer(response), $0)
            }
        }
        guard let daemon else {
            close(socket)
            MHD_destroy_response(response)
            throw BenchmarkError("the static server could not be started")
        }
        self.daemon = daemon
        self.response = response
        url = "http://127.0.0.1:\(port)/"
    }

    /// Ends the server; to be called once.
    func stop() {
        MHD_stop_daemon(daemon)
        MHD_destroy_response(response)
    }

    private static func listen() throws -> (socket: Int32, port: UInt16) {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { throw BenchmarkError("no socket: errno \(errno)") }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard bind(socket, address, length) == 0, Glibc.listen(socket, 64) == 0 else { return errno }
                return getsockname(socket, address, &length) == 0 ? 0 : errno
            }
        }
        guard code == 0 else {
            close(socket)
            throw BenchmarkError("no listening socket: errno \(code)")
        }
        return (socket, UInt16(bigEndian: address.sin_port))
    }
}

/// Answers in the second call for a request: an answer in the first would close the connection.
private func answer(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?, _ url: UnsafePointer<CChar>?,
    _ method: UnsafePointer<CChar>?, _ version: UnsafePointer<CChar>?, _ upload: UnsafePointer<CChar>?,
    _ uploadSize: UnsafeMutablePointer<Int>?, _ request: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> MHD_Result {
    guard let context, let request else { return .NO }
    guard request.pointee != nil else {
        request.pointee = context
        return .YES
    }
    return MHD_queue_response(connection, 200, OpaquePointer(context))
}

/// The HTTP load generator `wrk`, with one thread.
enum LoadGenerator {
    struct Outcome {
        var requestsPerSecond: Double
        /// In nanoseconds.
        var medianTime: Double
    }

    static func requireInstalled() throws {
        guard (try? output(["wrk", "-v"])) != nil else {
            throw BenchmarkSkipped("it needs the load generator wrk (Debian's package of that name)")
        }
    }

    /// Asks one URL again and again.
    static func run(
        url: String, seconds: Int, connections: Int = 8, compressed: Bool = false
    ) throws -> Outcome {
        let header = compressed ? ["-H", "Accept-Encoding: gzip"] : []
        let text = try output(["wrk", "-t1", "-c\(connections)", "-d\(seconds)", "--latency"] + header + [url])
        guard !text.contains("Non-2xx"), !text.contains("Socket errors") else {
            throw BenchmarkError("wrk had errors: \(text)")
        }
        var outcome = Outcome(requestsPerSecond: 0, medianTime: 0)
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.first == "Requests/sec:", words.count > 1 { outcome.requestsPerSecond = Double(words[1]) ?? 0 }
            if words.first == "50%", words.count > 1 { outcome.medianTime = nanoseconds(words[1]) ?? 0 }
        }
        guard outcome.requestsPerSecond > 0, outcome.medianTime > 0 else {
            throw BenchmarkError("wrk wrote something else than expected: \(text)")
        }
        return outcome
    }

    private static func nanoseconds(_ text: Substring) -> Double? {
        for (unit, scale) in [("us", 1e3), ("ms", 1e6), ("s", 1e9)] where text.hasSuffix(unit) {
            return Double(text.dropLast(unit.count)).map { $0 * scale }
        }
        return nil
    }

    /// Runs a program to its end and returns what it wrote to its standard output.
    static func output(_ command: [String]) throws -> String {
        var ends: [Int32] = [0, 0]
        guard cmusterbench_pipe(&ends) else { throw BenchmarkError("no pipe for \(command[0]): errno \(errno)") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
        var arguments = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, command[0], &actions, nil, &arguments, environ)
        close(ends[1])
        defer { close(ends[0]) }
        guard code == 0 else { throw BenchmarkError("\(command[0]) could not be started: errno \(code)") }
        let text = SmallFile.beginning(ofStream: ends[0], limit: SmallFile.limit) ?? ""
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        return text
    }
}
