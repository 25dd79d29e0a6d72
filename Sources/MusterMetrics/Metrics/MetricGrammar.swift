// SPDX-License-Identifier: Apache-2.0

/// The rules for names, from the Prometheus data model and OpenMetrics 1.0, narrowed to what both formats and all
/// versions of Prometheus accept.
enum MetricGrammar {
    /// Suffixes that samples of other types bear in OpenMetrics, so that no family may end in them.
    static let reservedSuffixes = [
        "_total", "_created", "_count", "_sum", "_bucket", "_gcount", "_gsum", "_info",
    ]

    /// Families that the exposition itself makes for each arena.
    static let ownFamilies: Set<String> = [PreparedArena.droppedSeriesName, PreparedArena.droppedUpdatesName]

    /// Whether a name is made of ASCII letters, digits and underscores and does not begin with a digit.
    static func isIdentifier(_ name: String) -> Bool {
        var first = true
        for byte in name.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"): break
            case UInt8(ascii: "0")...UInt8(ascii: "9") where !first: break
            default: return false
            }
            first = false
        }
        return !first
    }

    static func reservedSuffix(of name: String) -> String? {
        reservedSuffixes.first { name.hasSuffix($0) }
    }

    static func validate(name: String, type: MetricType) throws(MetricError) {
        guard name.utf8.count <= ArenaLayout.maximumNameBytes else {
            throw .invalidName(
                String(name.prefix(32)) + "…",
                problem: "it has \(name.utf8.count) bytes; at most \(ArenaLayout.maximumNameBytes) fit")
        }
        guard isIdentifier(name) else {
            throw .invalidName(
                name,
                problem: "use ASCII letters, digits and underscores only, and no digit at the start "
                    + "(colons belong to recording rules)")
        }
        let baseName = FamilyDescriptor.baseName(of: name, type: type)
        if type == .counter, baseName == name {
            throw .invalidName(name, problem: "a counter's name must end in _total: \"\(name)_total\"")
        }
        if type == .info, baseName == name {
            throw .invalidName(name, problem: "an info metric's name must end in _info: \"\(name)_info\"")
        }
        if let suffix = reservedSuffix(of: baseName) {
            throw .invalidName(
                name,
                problem: "\(suffix) is reserved for samples of other types in OpenMetrics; choose another ending")
        }
        guard !ownFamilies.contains(name) else {
            throw .invalidName(name, problem: "the exposition makes this family itself; choose another name")
        }
    }

    static func validate(unit: MetricUnit, baseName: String, type: MetricType) throws(MetricError) {
        guard !unit.name.isEmpty, unit.name.utf8.count <= ArenaLayout.maximumNameBytes,
            isIdentifier("_" + unit.name)
        else {
            throw .invalidUnit(
                unit.name, metric: baseName, problem: "use ASCII letters, digits and underscores only")
        }
        guard type != .info else {
            throw .invalidUnit(unit.name, metric: baseName, problem: "an info metric has no unit; leave it out")
        }
        guard baseName.hasSuffix("_" + unit.name) else {
            let suggestion = "\(baseName)_\(unit.name)\(type == .counter ? "_total" : "")"
            throw .invalidUnit(
                unit.name, metric: baseName, problem: "the name must end in the unit: \"\(suggestion)\"")
        }
    }

    static func validate(labelNames: [String], of metric: String) throws(MetricError) {
        guard labelNames.count <= ArenaLayout.maximumLabelNames else {
            throw .invalidLabelName(
                labelNames[ArenaLayout.maximumLabelNames], metric: metric,
                problem: "at most \(ArenaLayout.maximumLabelNames) labels are allowed")
        }
        var seen: Set<String> = []
        for name in labelNames {
            if let problem = problem(labelName: name) {
                throw .invalidLabelName(name, metric: metric, problem: problem)
            }
            guard seen.insert(name).inserted else {
                throw .invalidLabelName(name, metric: metric, problem: "it is named twice; remove one")
            }
        }
    }

    /// What is wrong with a label's name, if anything is.
    static func problem(labelName name: String) -> String? {
        if name.utf8.count > ArenaLayout.maximumNameBytes {
            return "at most \(ArenaLayout.maximumNameBytes) bytes are allowed"
        }
        if !isIdentifier(name) {
            return "use ASCII letters, digits and underscores only, and no digit at the start"
        }
        if name.hasPrefix("__") { return "names that begin with __ are reserved by Prometheus; choose another" }
        if name == "le" || name == "quantile" {
            return "the name is reserved for the samples of histograms and summaries; choose another"
        }
        return nil
    }
}
