// SPDX-License-Identifier: Apache-2.0

/// Turns the free labels of swift-metrics into names that Prometheus accepts.
enum MetricNameSanitizer {
    /// A metric's name: what is no letter, digit or underscore becomes an underscore; a reserved ending is
    /// followed by `_value`; then come the unit and the ending that the type demands.
    static func name(_ label: String, type: MetricType, unit: MetricUnit? = nil) -> String {
        let suffix = type == .counter ? "_total" : type == .info ? "_info" : ""
        var name = identifier(label, fallback: "unnamed")
        if !suffix.isEmpty { name = FamilyDescriptor.baseName(of: name, type: type) }
        if let unit, !name.hasSuffix("_" + unit.name) { name += "_" + unit.name }
        // Endings may be stacked; nothing is left of a name that consists of one.
        if MetricGrammar.reservedSuffix(of: name) != nil { name += "_value" }
        return name + suffix
    }

    /// The labels, sorted by name so that the order in which they were given does not matter.
    static func labels(_ dimensions: [(String, String)]) -> [(name: String, value: String)] {
        var labels: [(name: String, value: String)] = []
        for (key, value) in dimensions.sorted(by: { $0 < $1 }) {
            var name = identifier(key, fallback: "label")
            while name.hasPrefix("__") { name.removeFirst() }
            if name == "le" || name == "quantile" { name = "exported_" + name }
            var candidate = name
            var number = 2
            while labels.contains(where: { $0.name == candidate }) {
                candidate = "\(name)_\(number)"
                number += 1
            }
            labels.append((candidate, value))
        }
        return labels.sorted { $0.name < $1.name }
    }

    private static func identifier(_ text: String, fallback: String) -> String {
        var bytes: [UInt8] = []
        for scalar in text.unicodeScalars {
            let isAllowed = scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar))
            bytes.append(isAllowed ? UInt8(truncatingIfNeeded: scalar.value) : UInt8(ascii: "_"))
        }
        if bytes.isEmpty { return fallback }
        if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[0]) { bytes.insert(UInt8(ascii: "_"), at: 0) }
        return String(decoding: bytes, as: UTF8.self)
    }
}
