// SPDX-License-Identifier: Apache-2.0

public import MusterMetrics
import MusterPlatform

/// One line of the text format.
public struct MetricSample: Hashable, Sendable {
    /// The name, for a histogram with its suffix (`_bucket`, `_sum`, `_count`).
    public let name: String
    /// The labels.
    public let labels: [String: String]
    /// The value.
    public let value: Double

    /// Reads a line.
    ///
    /// - Parameter line: The line; `nil` is returned for a comment and for what is no sample.
    package init?(parsing line: some StringProtocol) {
        guard !line.hasPrefix("#") else { return nil }
        var rest = Substring(line)
        name = String(rest.prefix { $0 != "{" && $0 != " " })
        rest = rest.dropFirst(name.count)
        var labels: [String: String] = [:]
        if rest.first == "{" {
            rest = rest.dropFirst()
            while let character = rest.first, character != "}" {
                let label = rest.prefix { $0 != "=" }
                rest = rest.dropFirst(label.count + 2)
                guard let value = Self.takeValue(&rest) else { return nil }
                labels[String(label)] = value
                if rest.first == "," { rest = rest.dropFirst() }
            }
            rest = rest.dropFirst()
        }
        self.labels = labels
        guard !name.isEmpty, rest.first == " ", let number = rest.split(separator: " ").first else { return nil }
        switch number {
        case "+Inf": value = .infinity
        case "-Inf": value = -.infinity
        case "NaN": value = .nan
        default:
            guard let number = Double(number) else { return nil }
            value = number
        }
    }

    /// Takes a label's value and its closing quote.
    private static func takeValue(_ rest: inout Substring) -> String? {
        var value = ""
        while let character = rest.popFirst() {
            switch character {
            case "\"": return value
            case "\\":
                guard let escaped = rest.popFirst() else { return nil }
                value.append(escaped == "n" ? "\n" : escaped)
            default: value.append(character)
            }
        }
        return nil
    }
}

extension MetricSample: CustomStringConvertible {
    /// The line, with the labels in the order of their names.
    public var description: String { name + series }

    /// The labels and the value.
    fileprivate var series: String {
        let labels = labels.sorted { $0.key < $1.key }.map { "\($0.key)=\"\($0.value)\"" }.joined(separator: ",")
        return "{\(labels)} \(MetricValue.text(value))"
    }

    /// Reads a text exposition.
    package static func all(in text: some StringProtocol) -> [MetricSample] {
        text.split(separator: "\n").compactMap { MetricSample(parsing: $0) }
    }
}

/// The value of a sample that a test has looked up, and for what fails the samples that were there.
///
/// It is compared with a number: `#expect(metrics.value("muster_loop_runs_total", ["loop": "refresh"]) == 3)` fails with
/// the value, or with why there is none and which samples come nearest.
public struct MetricValue: Comparable, Sendable, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral {
    /// The value; `nil` when no sample has the name and the labels, or more than one has.
    public let number: Double?
    private let explanation: String

    fileprivate init(_ number: Double?, _ explanation: String = "") {
        self.number = number
        self.explanation = explanation
    }

    /// A number to compare with.
    public init(_ number: Double) { self.init(number, "") }

    /// A number to compare with.
    public init(integerLiteral number: Int) { self.init(Double(number)) }

    /// A number to compare with.
    public init(floatLiteral number: Double) { self.init(number) }

    /// Whether both have the same number, or both have none.
    public static func == (one: MetricValue, other: MetricValue) -> Bool { one.number == other.number }

    /// Whether both have a number, and the first one's is less.
    public static func < (one: MetricValue, other: MetricValue) -> Bool { compare(one, other, <) }

    /// Whether both have a number, and the first one's is not greater.
    public static func <= (one: MetricValue, other: MetricValue) -> Bool { compare(one, other, <=) }

    /// Whether both have a number, and the first one's is not less.
    public static func >= (one: MetricValue, other: MetricValue) -> Bool { compare(one, other, >=) }

    private static func compare(_ one: MetricValue, _ other: MetricValue, _ holds: (Double, Double) -> Bool) -> Bool {
        guard let one = one.number, let other = other.number else { return false }
        return holds(one, other)
    }

    fileprivate static func text(_ number: Double) -> String {
        Int64(exactly: number).map { "\($0)" } ?? "\(number)"
    }
}

extension MetricValue: CustomStringConvertible {
    /// The value, and the samples that it was looked for among.
    public var description: String {
        [number.map(Self.text) ?? "no value", explanation].filter { !$0.isEmpty }.joined(separator: ", ")
    }
}

extension Sequence<MetricSample> {
    /// The value of the one sample that has a name and at least some labels.
    public func value(_ name: String, _ labels: [String: String] = [:]) -> MetricValue {
        let found = matching(name, labels)
        let reason = found.count > 1 ? "\(found.count) samples fit; " : ""
        return MetricValue(found.count == 1 ? found[0].value : nil, reason + explanation(name, labels))
    }

    /// The sum of the samples that have a name and at least some labels.
    public func sum(_ name: String, _ labels: [String: String] = [:]) -> MetricValue {
        let found = matching(name, labels)
        return MetricValue(found.isEmpty ? nil : found.reduce(0) { $0 + $1.value }, explanation(name, labels))
    }

    private func matching(_ name: String, _ labels: [String: String]) -> [MetricSample] {
        filter { sample in sample.name == name && labels.allSatisfy { sample.labels[$0] == $1 } }
    }

    /// The samples of a name, those with most of the labels first; without any, the names that begin most alike.
    private func explanation(_ name: String, _ labels: [String: String]) -> String {
        let most = 8
        let samples = filter { $0.name == name }
        guard !samples.isEmpty else {
            let names = Set(map(\.name)).map { (other: $0, common: zip($0, name).prefix { $0 == $1 }.count) }
                .filter { $0.common > 0 }.sorted { ($1.common, $0.other) < ($0.common, $1.other) }.prefix(most)
            return
                "there is no \(name)\(names.isEmpty ? "" : "; near it: ")\(names.map(\.other).joined(separator: ", "))"
        }
        let sorted = samples.map { sample in (sample, labels.count { sample.labels[$0] == $1 }) }
            .sorted { ($1.1, $0.0.description) < ($0.1, $1.0.description) }.map(\.0)
        let more = sorted.count > most ? ", and \(sorted.count - most) more" : ""
        return "there is \(name) " + sorted.prefix(most).map(\.series).joined(separator: ", ") + more
    }
}

extension MetricRegistry {
    /// Creates a registry that nothing else writes to.
    ///
    /// - Throws: `ArenaError` when the system gives no memory file.
    public static func forTesting() throws -> MetricRegistry {
        MetricRegistry(arena: try .create(name: "muster-test"))
    }

    /// What the registry exports now.
    public var samples: [MetricSample] {
        guard let reader = try? ArenaReader(descriptor: arena.descriptor.rawValue) else { return [] }
        let exposition = Exposition(sources: [ArenaSource(reader: reader, constantLabels: [])])
        return MetricSample.all(in: String(decoding: exposition.rendered(.text), as: UTF8.self))
    }

    /// The value of the one sample that has a name and at least some labels.
    ///
    /// ```swift
    /// #expect(backend.metrics.value("muster_loop_runs_total", ["loop": "refresh"]) == 3)
    /// ```
    public func value(_ name: String, _ labels: [String: String] = [:]) -> MetricValue { samples.value(name, labels) }
}
