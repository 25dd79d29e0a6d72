// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth
import MusterMetrics

/// Renders what a test wants, and counts.
final class TestRenderer: MetricsRenderer {
    private let padding: [UInt8]
    private let calls = Box(0)

    init(padding: Int = 0) {
        self.padding = [UInt8](repeating: UInt8(ascii: "x"), count: padding)
    }

    var count: Int { calls.value }

    func render(_ format: ExpositionFormat, names: Set<String>, into buffer: inout [UInt8]) {
        calls.change { $0 += 1 }
        buffer.removeAll(keepingCapacity: true)
        let filter = names.isEmpty ? "all" : names.sorted().joined(separator: ",")
        buffer.append(contentsOf: Array("\(format) \(filter) \(calls.value)\n".utf8))
        buffer.append(contentsOf: padding)
    }
}
