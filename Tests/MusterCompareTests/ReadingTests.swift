// SPDX-License-Identifier: Apache-2.0

import MusterCompare
import MusterPlatform
import Testing

@Suite struct ReadingTests {
    private func snapshot(runs: Int, slow: Int, cpu: Double) throws -> Snapshot {
        try TextExposition().read(
            Array(
                """
                # HELP muster_loop_run_duration_seconds how long runs take
                # TYPE muster_loop_run_duration_seconds histogram
                muster_loop_run_duration_seconds_bucket{loop="a, \\"b\\"",worker="0",le="0.01"} \(runs)
                muster_loop_run_duration_seconds_bucket{loop="a, \\"b\\"",worker="0",le="0.025"} \(runs + slow)
                muster_loop_run_duration_seconds_bucket{loop="a, \\"b\\"",worker="0",le="+Inf"} \(runs + slow)
                muster_loop_run_duration_seconds_sum{loop="a, \\"b\\"",worker="0"} \(Double(runs) * 0.005 + Double(slow) * 0.02)
                muster_loop_run_duration_seconds_count{loop="a, \\"b\\"",worker="0"} \(runs + slow)
                # TYPE muster_worker_cpu_seconds_total counter
                muster_worker_cpu_seconds_total{worker="0"} \(cpu)
                muster_worker_cpu_seconds_total{worker="1"} \(cpu)
                # TYPE muster_loop_drift_seconds gauge
                muster_loop_drift_seconds{loop="a"} 0.5
                muster_loop_drift_seconds{loop="b"} 0.25
                # TYPE muster_worker_threads gauge
                muster_worker_threads{worker="0"} 3
                muster_worker_threads{worker="1"} 4
                # TYPE muster_backend_info gauge
                muster_backend_info{backend="threading",source="hook"} 1

                """.utf8))
    }

    private func value(_ name: String, _ block: Block) throws -> Observation? {
        Measure.all.first { $0.quantity.name == name }?.observations([block]).first
    }

    @Test("Two expositions give what happened between them")
    func difference() throws {
        let block = try snapshot(runs: 3000, slow: 1000, cpu: 2)
            .block(since: snapshot(runs: 1000, slow: 0, cpu: 1), seconds: 4)
        #expect(try value("cpu", block)?.value == 0.5)
        #expect(try value("loop_drift", block)?.value == 0.5)
        #expect(try value("threads", block)?.value == 7)
        #expect(abs((try value("loop_run_duration_mean", block)?.value ?? 0) - 0.01) < 1e-12)
        let median = try value("loop_run_duration_p50", block)
        #expect(median?.low == 0 && median?.high == 0.01 && abs((median?.value ?? 0) - 0.0075) < 1e-9)
        let tail = try value("loop_run_duration_p99", block)
        #expect(tail?.low == 0.01 && tail?.high == 0.025)
        #expect(try value("hub_lag_p99", block) == nil)
        #expect(
            try snapshot(runs: 1, slow: 0, cpu: 0).values(of: "backend", in: "muster_backend_info") == ["threading"])
    }

    @Test("Stretches with too few observations for a quantile are joined")
    func joining() throws {
        var block = Block(seconds: 1)
        block.histograms["muster_loop_lateness_seconds"] = Buckets(
            cumulative: [(0.001, 200), (.infinity, 200)], sum: 0.1)
        let measure = try #require(Measure.all.first { $0.quantity.name == "loop_lateness_p99" })
        #expect(measure.observations(Array(repeating: block, count: 7)).count == 2)
        #expect(measure.observations(Array(repeating: block, count: 2)).isEmpty)
    }

    @Test("What is no exposition is refused with its line", arguments: ["<html>", "a{b=c} 1", "a 1 2 3", "a x"])
    func notAnExposition(text: String) {
        #expect(throws: ExpositionProblem.self) { try TextExposition().read(Array("# x\n\(text)\n".utf8)) }
    }

    @Test("The results of wrk are read")
    func wrk() throws {
        let result = try #require(
            LoadResult(
                output: """
                    Running 2s test @ http://127.0.0.1:8080/
                      2 threads and 10 connections
                      Thread Stats   Avg      Stdev     Max   +/- Stdev
                        Latency   512.34us  1.20ms  25.60ms   95.12%
                        Req/Sec    12.10k     1.20k   14.00k    75.00%
                      Latency Distribution
                         50%  250.00us
                         75%  400.00us
                         90%    0.90ms
                         99%    6.10ms
                      48000 requests in 2.00s, 5.00MB read
                      Socket errors: connect 0, read 3, write 0, timeout 1
                      Non-2xx or 3xx responses: 44
                    Requests/sec:  24000.50
                    Transfer/sec:      2.50MB
                    """))
        #expect(result.tool == "wrk" && result.requests == 24000.5)
        for (name, expected) in ["mean": 512.34e-6, "max": 25.6e-3, "p50": 250e-6, "p99": 6.1e-3] {
            #expect(abs((result.latencies[name] ?? 0) - expected) < 1e-9)
        }
        #expect(abs((result.errors ?? 0) - 0.001) < 1e-12)
    }

    @Test("The results of h2load are read, and its log's quantiles")
    func h2load() throws {
        var result = try #require(
            LoadResult(
                output: """
                    starting benchmark...
                    finished in 10.01s, 499.50 req/s, 60.49KB/s
                    requests: 5000 total, 5000 started, 5000 done, 4990 succeeded, 10 failed, 0 errored, 0 timeout
                    status codes: 4990 2xx, 0 3xx, 0 4xx, 10 5xx
                    traffic: 605.47KB (620000) total, 0B (0) headers (space savings 0.00%), 100B (100) data
                                         min         max         mean         sd        +/- sd
                    time for request:       52us     12.34ms       410us       215us    91.00%
                    time for connect:       80us       200us       110us        20us    80.00%
                    req/s           :     124.87      124.88      124.87        0.00    75.00%
                    """))
        result.add(h2loadLog: (1...100).map { "1700000000\($0)\t200\t\($0 * 10)" }.joined(separator: "\n"))
        #expect(result.tool == "h2load" && result.requests == 499.5)
        #expect(result.latencies["max"] == 12.34e-3 && abs((result.latencies["mean"] ?? 0) - 410e-6) < 1e-9)
        #expect(
            abs((result.latencies["p50"] ?? 0) - 505e-6) < 1e-9 && abs((result.latencies["p99"] ?? 0) - 990.1e-6) < 1e-7
        )
        #expect(abs((result.errors ?? 0) - 0.002) < 1e-12)
        #expect(LoadResult(output: "hello") == nil)
    }

    @Test("Instants are seconds or RFC 3339, until the last year that it knows")
    func instants() {
        #expect(Instant.instant("1700000000.5") == 1_700_000_000.5)
        #expect(Instant.instant("2023-11-14T22:13:20Z") == 1_700_000_000)
        for text in ["", "soon", "nan", "inf", "-inf", "-1", "1e300", "253402300800", "2023-13-01T00:00:00Z"] {
            #expect(Instant.instant(text) == nil, "\(text)")
        }
    }
}

/// The protobuf format, from messages put together by hand after its published schema.
@Suite struct ProtobufTests {
    private func variable(_ number: UInt64) -> [UInt8] {
        number < 0x80 ? [UInt8(number)] : [UInt8(number & 0x7F) | 0x80] + variable(number >> 7)
    }

    private func message(_ field: UInt64, _ bytes: [UInt8]) -> [UInt8] {
        variable(field << 3 | 2) + variable(UInt64(bytes.count)) + bytes
    }

    private func number(_ field: UInt64, _ value: UInt64) -> [UInt8] { variable(field << 3) + variable(value) }

    private func double(_ field: UInt64, _ value: Double) -> [UInt8] {
        variable(field << 3 | 1) + (0..<8).map { UInt8(truncatingIfNeeded: value.bitPattern >> ($0 * 8)) }
    }

    private func zigzag(_ value: Int) -> UInt64 { UInt64(bitPattern: Int64(value << 1 ^ value >> 63)) }

    private enum Kind: UInt64 {
        case counter = 0
        case gauge = 1
        case histogram = 4
    }

    private func family(_ name: String, _ kind: Kind, _ metrics: [UInt8]...) -> [UInt8] {
        let body = message(1, Array(name.utf8)) + number(3, kind.rawValue) + metrics.flatMap { message(4, $0) }
        return variable(UInt64(body.count)) + body
    }

    @Test("Counters, gauges and native histograms are read")
    func families() throws {
        let label = message(1, message(1, Array("loop".utf8)) + message(2, Array("a".utf8)))
        // Schema 2: bounds are powers of 2^(1/4). Buckets 1, 2 and 5 with 3, 1 and 6 values.
        let spans = message(12, number(1, zigzag(1)) + number(2, 2)) + message(12, number(1, zigzag(2)) + number(2, 1))
        let deltas = message(13, variable(zigzag(3)) + variable(zigzag(-2)) + variable(zigzag(5)))
        let histogram =
            number(1, 12) + double(2, 20) + number(5, zigzag(2)) + double(6, 0.001) + number(7, 2) + spans + deltas
        let body =
            family("runs_total", .counter, label + message(3, double(1, 7)), message(3, []))
            + family("drift", .gauge, message(2, double(1, 0.5)))
            + family("lateness_seconds", .histogram, label + message(7, histogram))
        #expect(ProtobufExposition.isUsed(in: body))
        #expect(!ProtobufExposition.isUsed(in: Array("# HELP a b\n".utf8)))
        let snapshot = try ProtobufExposition().read(body)
        #expect(snapshot.counters[.init("runs_total", ["loop": "a"])] == 7)
        #expect(snapshot.counters[.init("runs_total", [:])] == 0)
        #expect(snapshot.gauges[.init("drift", [:])] == 0.5)
        let buckets = try #require(snapshot.histograms[.init("lateness_seconds", ["loop": "a"])])
        #expect(buckets.buckets.map(\.count) == [2, 3, 1, 6] && buckets.sum == 20)
        #expect(buckets.buckets[0].high == 0.001 && buckets.buckets[1].low == 1)
        #expect(abs(buckets.buckets[3].high / buckets.buckets[3].low - 1.189_207) < 1e-6)
        #expect(abs(buckets.buckets[3].high - 2.378_414) < 1e-6)
    }

    @Test("Without native buckets the classic ones are read")
    func classic() throws {
        func bucket(_ bound: Double, _ count: UInt64) -> [UInt8] { message(3, number(1, count) + double(2, bound)) }
        let body = family(
            "a_seconds", .histogram, message(7, number(1, 9) + double(2, 3) + bucket(0.1, 4) + bucket(1, 8)))
        let buckets = try #require(try ProtobufExposition().read(body).histograms[.init("a_seconds", [:])])
        #expect(buckets.buckets.map(\.count) == [4, 4, 1] && buckets.buckets[2].high == .infinity)
    }

    @Test("Whatever is cut off or overwritten is refused or read, and never traps")
    func damage() throws {
        let body = family(
            "a_seconds", .histogram, message(7, number(1, 9) + double(2, 3) + message(12, number(2, 1 << 40))))
        for length in 1..<body.count {
            #expect(throws: ExpositionProblem.self) { try ProtobufExposition().read(Array(body[..<length])) }
        }
        var generator = SplitMix64(seed: 2)
        for _ in 0..<2000 {
            var damaged = body
            damaged[Int.random(in: 0..<body.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            _ = try? ProtobufExposition().read(damaged)
        }
    }
}
