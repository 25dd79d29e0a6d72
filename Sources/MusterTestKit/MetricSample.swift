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
        var buffer: [UInt8] = []
        Exposition(sources: [ArenaSource(reader: reader, constantLabels: [])]).render(.text, into: &buffer)
        let text = String(decoding: buffer, as: UTF8.self)
        return text.split(separator: "\n").compactMap { MetricSample(parsing: $0) }
    }

    /// The value of a sample.
    ///
    /// ```swift
    /// #expect(backend.metrics.value("muster_loop_runs_total", ["loop": "refresh"]) == 3)
    /// ```
    ///
    /// - Returns: The value; `nil` when no sample has this name and these labels, or more than one has.
    public func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
        let found = samples.filter { sample in
            sample.name == name && labels.allSatisfy { sample.labels[$0.key] == $0.value }
        }
        return found.count == 1 ? found.first?.value : nil
    }
}
