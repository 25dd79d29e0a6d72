// SPDX-License-Identifier: Apache-2.0

/// The metrics of a program at one moment.
package struct Snapshot: Sendable {
    package struct Series: Hashable, Sendable {
        package let name: String
        package let labels: [String: String]

        package init(_ name: String, _ labels: [String: String]) {
            self.name = name
            self.labels = labels
        }
    }

    package var counters: [Series: Double] = [:]
    package var gauges: [Series: Double] = [:]
    package var histograms: [Series: Buckets] = [:]

    package init() {}

    /// What happened since an earlier moment. A series that did not exist then began at zero.
    package func block(since earlier: Snapshot, seconds: Double) -> Block {
        var block = Block(seconds: seconds)
        for (series, value) in counters {
            block.increases[series.name, default: 0] += max(0, value - (earlier.counters[series] ?? 0))
        }
        for (series, value) in gauges { block.addGauge(series.name, value) }
        for (series, buckets) in histograms {
            let new = earlier.histograms[series].map { buckets.subtracting($0) } ?? buckets
            block.histograms[series.name] = block.histograms[series.name]?.adding(new) ?? new
        }
        return block
    }

    /// The values that a label of a metric has.
    package func values(of label: String, in name: String) -> [String] {
        Set(gauges.keys.filter { $0.name == name }.compactMap { $0.labels[label] }).sorted()
    }

    package func sum(_ name: String, _ labels: [String: String] = [:]) -> Double {
        func fits(_ series: Series) -> Bool {
            series.name == name && labels.allSatisfy { series.labels[$0.key] == $0.value }
        }
        return counters.reduce(0) { fits($1.key) ? $0 + $1.value : $0 }
            + gauges.reduce(0) { fits($1.key) ? $0 + $1.value : $0 }
    }

    package func kind(of name: String) -> Measure.Metric.Kind? {
        if histograms.keys.contains(where: { $0.name == name }) { return .histogram }
        if counters.keys.contains(where: { $0.name == name }) { return .counter }
        return gauges.keys.contains(where: { $0.name == name }) ? .gauge : nil
    }
}

/// A format in which an endpoint's metrics can be read.
package protocol ExpositionFormat: Sendable {
    /// What a request has to accept.
    var accept: String { get }
    /// - Throws: ``ExpositionProblem``.
    func read(_ body: [UInt8]) throws(ExpositionProblem) -> Snapshot
}

/// Why a text is no exposition.
package struct ExpositionProblem: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String

    init(line: Int, reason: String) { description = "line \(line): \(reason)" }

    init(reason: String) { description = reason }
}

/// Prometheus' text format, version 0.0.4.
package struct TextExposition: ExpositionFormat {
    package init() {}

    package var accept: String { "text/plain;version=0.0.4" }

    package func read(_ body: [UInt8]) throws(ExpositionProblem) -> Snapshot {
        var types: [Substring: Substring] = [:]
        var snapshot = Snapshot()
        var cumulative: [Snapshot.Series: [(bound: Double, count: Double)]] = [:]
        var sums: [Snapshot.Series: Double] = [:]
        let text = String(decoding: body, as: UTF8.self)
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            if line.isEmpty { continue }
            if line.utf8.first == UInt8(ascii: "#") {
                let words = line.split(separator: " ", maxSplits: 3)
                if words.count == 4, words[1] == "TYPE" { types[words[2]] = words[3] }
                continue
            }
            guard let sample = Self.sample(line) else {
                throw ExpositionProblem(line: index + 1, reason: "not a sample: '\(line.prefix(60))'")
            }
            var (name, labels, value) = sample
            guard value.isFinite else { continue }
            for suffix in ["_bucket", "_sum", "_count"] where name.hasSuffix(suffix) {
                let family = name.dropLast(suffix.count)
                guard types[family] == "histogram" else { continue }
                let bound = labels.removeValue(forKey: "le")
                let series = Snapshot.Series(String(family), labels)
                switch suffix {
                case "_bucket":
                    guard let bound = bound.flatMap({ $0 == "+Inf" ? .infinity : Double($0) }) else {
                        throw ExpositionProblem(line: index + 1, reason: "a bucket without a bound")
                    }
                    cumulative[series, default: []].append((bound, value))
                case "_sum": sums[series] = value
                default: break
                }
                name = ""
            }
            if name.isEmpty { continue }
            let series = Snapshot.Series(String(name), labels)
            if types[name] == "counter" { snapshot.counters[series] = value } else { snapshot.gauges[series] = value }
        }
        for (series, buckets) in cumulative {
            snapshot.histograms[series] = Buckets(cumulative: buckets, sum: sums[series] ?? 0)
        }
        return snapshot
    }

    private static func sample(_ line: Substring) -> (name: Substring, labels: [String: String], value: Double)? {
        let bytes = line.utf8
        guard let end = bytes.firstIndex(where: { $0 == UInt8(ascii: "{") || $0 == UInt8(ascii: " ") }),
            end > line.startIndex
        else { return nil }
        let name = line[..<end]
        var labels: [String: String] = [:]
        var place = end
        if bytes[place] == UInt8(ascii: "{") {
            place = bytes.index(after: place)
            while place < bytes.endIndex, bytes[place] != UInt8(ascii: "}") {
                guard let equals = bytes[place...].firstIndex(of: UInt8(ascii: "=")) else { return nil }
                let label = String(line[place..<equals])
                place = bytes.index(after: equals)
                guard place < bytes.endIndex, bytes[place] == UInt8(ascii: "\"") else { return nil }
                place = bytes.index(after: place)
                var value: [UInt8] = []
                while place < bytes.endIndex, bytes[place] != UInt8(ascii: "\"") {
                    if bytes[place] == UInt8(ascii: "\\") {
                        place = bytes.index(after: place)
                        guard place < bytes.endIndex else { return nil }
                        value.append(bytes[place] == UInt8(ascii: "n") ? UInt8(ascii: "\n") : bytes[place])
                    } else {
                        value.append(bytes[place])
                    }
                    place = bytes.index(after: place)
                }
                guard place < bytes.endIndex else { return nil }
                labels[label] = String(decoding: value, as: UTF8.self)
                place = bytes.index(after: place)
                if place < bytes.endIndex, bytes[place] == UInt8(ascii: ",") { place = bytes.index(after: place) }
            }
            guard place < bytes.endIndex else { return nil }
            place = bytes.index(after: place)
        }
        let words = line[place...].split(separator: " ")
        guard let first = words.first, words.count <= 2 else { return nil }
        switch first {
        case "+Inf": return (name, labels, .infinity)
        case "-Inf": return (name, labels, -.infinity)
        case "NaN": return (name, labels, .nan)
        default: return Double(first).map { (name, labels, $0) }
        }
    }
}
