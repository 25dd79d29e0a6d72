// SPDX-License-Identifier: Apache-2.0

/// What a load generator has measured, read from what it has printed.
package struct LoadResult: Hashable, Sendable {
    package var tool: String
    /// Requests a second.
    package var requests: Double?
    /// Latencies by name, in seconds: `mean`, `p50`, `p99`, `max`.
    package var latencies: [String: Double] = [:]
    /// The share of requests that failed.
    package var errors: Double?

    /// Reads what wrk, wrk2 or h2load print; `nil` for what is none of them.
    package init?(output: String) {
        let lines = output.split(whereSeparator: \.isNewline).map(String.init)
        if lines.contains(where: { $0.hasPrefix("Requests/sec:") }) {
            tool = lines.contains { $0.contains("Recorded Latency") } ? "wrk2" : "wrk"
            readWrk(lines)
        } else if lines.contains(where: { $0.hasPrefix("finished in ") }) {
            tool = "h2load"
            readH2load(lines)
        } else {
            return nil
        }
    }

    /// Adds the quantiles of h2load's log: a line for each request, with its beginning, status and microseconds.
    package mutating func add(h2loadLog text: String) {
        let sorted = text.split(separator: "\n").compactMap { line in
            line.split(separator: "\t").dropFirst(2).first.flatMap { Double($0) }
        }.sorted()
        guard !sorted.isEmpty else { return }
        for (name, q) in [("p50", 0.5), ("p99", 0.99)] { latencies[name] = Statistics.quantile(sorted, q) * 1e-6 }
    }

    /// As gauges of the run.
    package var gauges: [String: Double] {
        var result: [String: Double] = [:]
        result["load_requests"] = requests
        result["load_errors"] = errors
        for (name, value) in latencies { result["load_latency_\(name)"] = value }
        return result
    }

    private mutating func readWrk(_ lines: [String]) {
        var total = 0.0
        var failed = 0.0
        for line in lines {
            let words = Self.words(line)
            switch words.first {
            case "Requests/sec:": requests = words.dropFirst().first.flatMap { Double($0) }
            case "Latency" where words.count >= 4:
                // Mean, deviation, largest.
                latencies["mean"] = Self.seconds(words[1])
                latencies["max"] = Self.seconds(words[3])
            case "50%", "50.000%": latencies["p50"] = words.dropFirst().first.flatMap(Self.seconds)
            case "99%", "99.000%": latencies["p99"] = words.dropFirst().first.flatMap(Self.seconds)
            case "Socket": failed += Self.numbers(line).reduce(0, +)
            case "Non-2xx": failed += Self.numbers(line).last ?? 0
            default: if words.count >= 4, words[1] == "requests", words[2] == "in" { total = Double(words[0]) ?? 0 }
            }
        }
        if total > 0 { errors = min(1, failed / total) }
    }

    private mutating func readH2load(_ lines: [String]) {
        for line in lines {
            let words = Self.words(line)
            if line.hasPrefix("finished in "), words.count >= 5 { requests = Double(words[3]) }
            if line.hasPrefix("requests:") {
                // total, started, done, succeeded, failed, errored, timeout
                let numbers = Self.numbers(line)
                if numbers.count >= 5, numbers[0] > 0 { errors = 1 - numbers[3] / numbers[0] }
            }
            if line.hasPrefix("time for request:"), words.count >= 6 {
                latencies["max"] = Self.seconds(words[4])
                latencies["mean"] = Self.seconds(words[5])
            }
        }
    }

    private static func words(_ line: String) -> [Substring] {
        line.split { $0 == " " || $0 == "\t" || $0 == "," }
    }

    private static func numbers(_ line: String) -> [Double] { words(line).compactMap { Double($0) } }

    /// `1.23ms`, `45us`, `2.00s`, `1.5m`.
    private static func seconds(_ text: Substring) -> Double? {
        let units = [("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)]
        for (unit, factor) in units where text.hasSuffix(unit) {
            return Double(text.dropLast(unit.count)).map { $0 * factor }
        }
        return nil
    }
}
