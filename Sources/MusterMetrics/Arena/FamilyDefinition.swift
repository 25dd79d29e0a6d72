// SPDX-License-Identifier: Apache-2.0

/// Everything that makes a metric family, as it is registered and as it stands in an arena.
struct FamilyDefinition: Hashable, Sendable {
    /// The name in the text format: a counter's ends in `_total`, an information's in `_info`.
    var name: String
    var type: MetricType
    /// Whether a counter's cell holds the bits of a double instead of an integer.
    var isFloatingPoint: Bool
    var unit: MetricUnit?
    var help: String
    var labelNames: [String]
    var bucketBounds: [Double]

    /// The name without the suffix that the type demands: the family's name in OpenMetrics.
    var baseName: String { FamilyDescriptor.baseName(of: name, type: type) }

    /// How this family differs from a registered one of the same name; `nil` when both may share their series.
    ///
    /// The help text is not compared: the first one stays.
    func difference(to other: FamilyDefinition) -> String? {
        if name != other.name || type != other.type {
            return "it is registered as the \(other.type) \(other.name)"
        }
        if isFloatingPoint != other.isFloatingPoint {
            return "it is registered as \(other.isFloatingPoint ? "a floating point" : "an integer") counter"
        }
        if unit != other.unit {
            return "it is registered with \(other.unit.map { "the unit \($0.name)" } ?? "no unit")"
        }
        if labelNames != other.labelNames {
            return "it is registered with the labels \(other.labelNames)"
        }
        if bucketBounds != other.bucketBounds {
            return "it is registered with the bucket bounds \(other.bucketBounds)"
        }
        return nil
    }

    /// Checks names, unit, labels and bounds against the rules of both exposition formats.
    func validate() throws(MetricError) {
        try MetricGrammar.validate(name: name, type: type)
        if let unit {
            try MetricGrammar.validate(unit: unit, baseName: baseName, type: type)
        }
        try MetricGrammar.validate(labelNames: labelNames, of: name)
        guard help.utf8.count <= ArenaLayout.maximumHelpBytes else {
            throw .invalidHelp(
                metric: name, problem: "it has \(help.utf8.count) bytes; at most \(ArenaLayout.maximumHelpBytes) fit")
        }
        if type == .histogram {
            try HistogramBuckets.validate(bucketBounds)
        } else if !bucketBounds.isEmpty {
            throw .invalidBuckets("only a histogram has bucket bounds, \(name) is a \(type)")
        }
    }

    /// The bytes one series takes in the value area.
    var valueSize: Int {
        switch type {
        case .counter: 8
        case .gauge, .info: 16
        case .histogram: (bucketBounds.count + 2) * 8
        }
    }

    /// What the offset of one series is a multiple of; a histogram never shares a cache line with its neighbours.
    var valueAlignment: Int {
        switch type {
        case .counter: 8
        case .gauge, .info: 16
        case .histogram: 64
        }
    }
}
