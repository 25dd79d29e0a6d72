// SPDX-License-Identifier: Apache-2.0

public import MusterMetrics
import MusterPlatform

extension MetricRegistry {
    /// Creates a registry that nothing else writes to.
    ///
    /// - Returns: The registry.
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
    /// - Parameters:
    ///   - name: The sample's name.
    ///   - labels: Those of its labels that tell it apart.
    /// - Returns: The value; `nil` when no sample has this name and these labels, or more than one has.
    public func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
        let found = samples.filter { sample in
            sample.name == name && labels.allSatisfy { sample.labels[$0.key] == $0.value }
        }
        return found.count == 1 ? found.first?.value : nil
    }
}
