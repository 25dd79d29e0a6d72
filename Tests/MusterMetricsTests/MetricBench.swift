// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterMetrics
import MusterPlatform

/// An arena with its registry, its reader and an exposition: what most tests need.
struct MetricBench {
    let writer: ArenaWriter
    let log = RecordedLog()
    let registry: MetricRegistry
    let reader: ArenaReader
    let exposition: Exposition

    init(capacity: Int = 1 << 20, constantLabels: [(name: String, value: String)] = []) throws {
        try self.init(writer: .create(name: "test", capacity: capacity), constantLabels: constantLabels)
    }

    init(writer: ArenaWriter, constantLabels: [(name: String, value: String)] = []) throws {
        self.writer = writer
        registry = MetricRegistry(arena: writer, logger: log.logger)
        reader = try ArenaReader(descriptor: writer.descriptor.rawValue)
        exposition = Exposition(
            sources: [ArenaSource(reader: reader, constantLabels: constantLabels, logger: log.logger)],
            logger: log.logger)
    }

    /// A writer of the next generation over the same memory file.
    func nextGeneration() throws -> MetricBench {
        try MetricBench(writer: ArenaWriter(descriptor: writer.descriptor))
    }

    /// The exposition without the families that every arena has.
    func text(_ format: ExpositionFormat = .text) -> String {
        render(format).split(separator: "\n", omittingEmptySubsequences: false)
            .filter { !$0.contains("muster_metrics_dropped_") }.joined(separator: "\n")
    }

    func bytes(_ format: ExpositionFormat) -> [UInt8] {
        exposition.rendered(format)
    }

    func render(_ format: ExpositionFormat = .text, names: Set<String> = []) -> String {
        exposition.text(format, names: names)
    }
}

extension Exposition {
    func text(_ format: ExpositionFormat, names: Set<String> = []) -> String {
        String(decoding: rendered(format, names: names), as: UTF8.self)
    }
}
