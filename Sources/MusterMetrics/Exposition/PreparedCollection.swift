// SPDX-License-Identifier: Apache-2.0

/// One scrape's view of families made at scrape time.
struct PreparedCollection: PreparedMetrics {
    let families: [FamilyDescriptor]
    private let collected: [CollectedFamily]

    init(_ collected: [CollectedFamily]) {
        self.collected =
            collected
            .filter { $0.descriptor.type != .histogram }
            .sorted { $0.descriptor.name < $1.descriptor.name }
        families = self.collected.map(\.descriptor)
    }

    func writeSamples(of index: Int, to writer: inout SampleWriter) {
        let family = collected[index]
        for sample in family.samples {
            writer.sample(family.descriptor.name, labels: sample.labels, value: sample.value)
        }
    }
}
