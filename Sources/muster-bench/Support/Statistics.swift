// SPDX-License-Identifier: Apache-2.0

/// Order statistics of small samples.
enum Statistics {
    /// The value below which a fraction of the sample lies; 0 for an empty one.
    static func quantile<Value: BinaryInteger>(_ fraction: Double, of sample: some Sequence<Value>) -> Double {
        quantile(fraction, of: sample.map { Double($0) })
    }

    /// The value below which a fraction of the sample lies; 0 for an empty one.
    static func quantile(_ fraction: Double, of sample: some Sequence<Double>) -> Double {
        let sorted = sample.sorted()
        guard let last = sorted.last else { return 0 }
        let position = fraction * Double(sorted.count - 1)
        let index = Int(position)
        guard index + 1 < sorted.count else { return last }
        return sorted[index] + (position - Double(index)) * (sorted[index + 1] - sorted[index])
    }

    static func median(_ sample: some Sequence<Double>) -> Double {
        quantile(0.5, of: sample)
    }
}
