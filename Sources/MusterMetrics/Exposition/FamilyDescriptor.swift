// SPDX-License-Identifier: Apache-2.0

/// What an exposition says about a metric family.
public struct FamilyDescriptor: Hashable, Sendable {
    /// The name in the text format: a counter's ends in `_total`, an information's in `_info`.
    public var name: String
    /// What the family measures.
    public var type: MetricType
    /// One sentence for people; may be empty.
    public var help: String
    /// The unit; its name must be the suffix of ``baseName`` to be shown.
    public var unit: MetricUnit?

    /// Describes a family.
    ///
    /// - Parameters:
    ///   - name: The name in the text format.
    ///   - type: What the family measures.
    ///   - help: One sentence for people.
    ///   - unit: The unit.
    public init(name: String, type: MetricType, help: String, unit: MetricUnit? = nil) {
        self.name = name
        self.type = type
        self.help = help
        self.unit = unit
    }

    init(_ definition: FamilyDefinition) {
        self.init(name: definition.name, type: definition.type, help: definition.help, unit: definition.unit)
    }

    /// The family's name in OpenMetrics: ``name`` without the suffix that the type demands.
    public var baseName: String { Self.baseName(of: name, type: type) }

    static func baseName(of name: String, type: MetricType) -> String {
        let suffix =
            switch type {
            case .counter: "_total"
            case .info: "_info"
            case .gauge, .histogram: ""
            }
        guard !suffix.isEmpty, name.utf8.count > suffix.utf8.count, name.hasSuffix(suffix) else { return name }
        return String(name.dropLast(suffix.count))
    }
}
