// SPDX-License-Identifier: Apache-2.0

public import Logging
import MusterPlatform

/// Renders the metrics of several sources as one text.
///
/// Families of the same name are merged: sources in their order, series in theirs, families by name. The sources
/// must tell their series apart by labels. Where two sources mean different types by one name, the first source's
/// family stays; the other one is left out, counted and logged once.
public final class Exposition: Sendable {
    private let logger: Logger
    private let state: Locked<State>

    private struct State {
        var sources: [any MetricSource]
        var leftOut: UInt64 = 0
        var reported: Set<String> = []
    }

    /// Creates an exposition.
    ///
    /// - Parameters:
    ///   - sources: Where the metrics come from.
    ///   - logger: Where families that had to be left out are reported.
    public init(sources: [any MetricSource], logger: Logger = Logger(label: "muster.metrics")) {
        self.logger = logger
        state = Locked(State(sources: sources))
    }

    /// Adds a source; scrapes under way do not see it.
    ///
    /// - Parameter source: Where more metrics come from.
    public func add(_ source: any MetricSource) {
        state.withLock { $0.sources.append(source) }
    }

    /// How often a family was left out of a scrape because it contradicted another one.
    public var familiesLeftOut: UInt64 {
        state.withLock { $0.leftOut }
    }

    /// Renders all metrics. Several scrapes may do so at once.
    ///
    /// - Parameters:
    ///   - format: The format of the text.
    ///   - names: The families to show, by their names in either format; all of them when empty.
    ///   - buffer: Receives the text in place of its content; its memory is used again.
    public func render(_ format: ExpositionFormat, names: Set<String> = [], into buffer: inout [UInt8]) {
        let sources = state.withLock { $0.sources }
        let prepared = sources.map { Self.sorted($0.prepare()) }
        var writer = SampleWriter(format: format, reusing: &buffer)
        var next = [Int](repeating: 0, count: prepared.count)
        var written: [String: String] = [:]
        while let name = Self.firstName(prepared, next) {
            var first: FamilyDescriptor?
            var beforeMetadata = 0
            var beforeSamples = 0
            for source in prepared.indices {
                while next[source] < prepared[source].families.count,
                    prepared[source].families[next[source]].descriptor.name == name
                {
                    let (family, index) = prepared[source].families[next[source]]
                    next[source] += 1
                    let baseName = family.baseName
                    guard names.isEmpty || names.contains(name) || names.contains(baseName) else { continue }
                    if let first {
                        guard family.type == first.type else {
                            leaveOut(family, because: "another source means a \(first.type) by this name")
                            continue
                        }
                    } else {
                        guard MetricGrammar.isIdentifier(name) else {
                            leaveOut(family, because: "the name is not allowed")
                            continue
                        }
                        if let other = written[baseName] {
                            leaveOut(family, because: "in OpenMetrics it has the same name as \(other)")
                            continue
                        }
                        written[baseName] = name
                        first = family
                        beforeMetadata = writer.count
                        writer.metadata(of: family)
                        beforeSamples = writer.count
                    }
                    prepared[source].metrics.writeSamples(of: index, to: &writer)
                }
            }
            // A family that has nothing to show at present is not mentioned.
            if let first, writer.count == beforeSamples {
                writer.rewind(to: beforeMetadata)
                written[first.baseName] = nil
            }
        }
        writer.end()
        writer.finish(into: &buffer)
    }

    private struct Prepared {
        var metrics: any PreparedMetrics
        var families: [(descriptor: FamilyDescriptor, index: Int)]
    }

    /// Pairs families with their places, and puts them in order where a source did not.
    private static func sorted(_ metrics: any PreparedMetrics) -> Prepared {
        var families = metrics.families.enumerated().map { (descriptor: $0.element, index: $0.offset) }
        let isSorted = zip(families, families.dropFirst()).allSatisfy { $0.descriptor.name <= $1.descriptor.name }
        if !isSorted { families.sort { ($0.descriptor.name, $0.index) < ($1.descriptor.name, $1.index) } }
        return Prepared(metrics: metrics, families: families)
    }

    private static func firstName(_ prepared: [Prepared], _ next: [Int]) -> String? {
        var first: String?
        for (source, position) in zip(prepared, next) where position < source.families.count {
            let name = source.families[position].descriptor.name
            if first.map({ name < $0 }) ?? true { first = name }
        }
        return first
    }

    private func leaveOut(_ family: FamilyDescriptor, because reason: String) {
        let isNew = state.withLock { state in
            state.leftOut &+= 1
            // Arenas come and go; what is remembered about them must not grow for ever.
            guard state.reported.count < 1000 else { return false }
            return state.reported.insert("\(family.name) \(family.type)").inserted
        }
        guard isNew else { return }
        logger.error(
            "a metric family is left out of the exposition: \(reason)",
            metadata: ["metric": "\(family.name)", "type": "\(family.type)"])
    }
}
