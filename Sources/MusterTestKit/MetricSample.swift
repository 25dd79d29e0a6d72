// SPDX-License-Identifier: Apache-2.0

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
    public init?(parsing line: some StringProtocol) {
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
