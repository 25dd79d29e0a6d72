// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth
import MusterMetrics
import MusterPlatform

/// Renders what a test wants, and counts.
final class TestRenderer: MetricsRenderer {
    private let padding: [UInt8]
    private let calls = Box(0)

    init(padding: Int = 0) {
        self.padding = [UInt8](repeating: UInt8(ascii: "x"), count: padding)
    }

    var count: Int { calls.value }

    func render(_ format: ExpositionFormat, names: Set<String>, into memory: GrowingBytes) {
        calls.change { $0 += 1 }
        let filter = names.isEmpty ? "all" : names.sorted().joined(separator: ",")
        let text = Array("\(format) \(filter) \(calls.value)\n".utf8) + padding
        text.withUnsafeBufferPointer { memory.replace(with: $0) }
    }
}
