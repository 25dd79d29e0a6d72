// SPDX-License-Identifier: Apache-2.0

import MusterMetrics

/// Prometheus' protobuf format, with its native histograms: precise where the endpoint keeps precise buckets.
package struct ProtobufExposition: ExpositionFormat {
    package init() {}

    package var accept: String { ExpositionSnapshot.accept }

    /// Whether a body is in this format: a length, and then the field of the first family's name.
    package static func isUsed(in body: [UInt8]) -> Bool {
        guard let end = body.prefix(10).firstIndex(where: { $0 < 0x80 }) else { return false }
        return body.count > end + 1 && body[end + 1] == 0x0A
    }

    package func read(_ body: [UInt8]) throws(ExpositionProblem) -> Snapshot {
        let exposition: ExpositionSnapshot
        do {
            exposition = try ExpositionSnapshot(protobuf: body)
        } catch {
            throw ExpositionProblem(reason: error.description)
        }
        var snapshot = Snapshot()
        for family in exposition.families {
            for series in family.series {
                let name = Snapshot.Series(family.name, series.labels)
                switch series.value {
                case .histogram(let histogram): snapshot.histograms[name] = Buckets(histogram)
                case .number(let number) where !number.isFinite: break
                case .number(let number) where family.type == .counter: snapshot.counters[name] = number
                case .number(let number): snapshot.gauges[name] = number
                }
            }
        }
        return snapshot
    }
}

extension Buckets {
    /// The native buckets where there are any, else the classic ones.
    fileprivate init(_ histogram: ExposedHistogram) {
        guard let native = histogram.native else {
            var total = 0.0
            let cumulative = zip(histogram.classic.bounds + [.infinity], histogram.classic.bucketCounts).map {
                bound, count in
                total += Double(count)
                return (bound: bound, count: total)
            }
            self.init(cumulative: cumulative, sum: histogram.sum)
            return
        }
        var buckets: [Bucket] = []
        if native.zeroCount > 0 {
            buckets.append(Bucket(low: 0, high: native.zeroThreshold, count: Double(native.zeroCount)))
        }
        for (index, count) in native.buckets.sorted(by: { $0.key < $1.key }) {
            buckets.append(
                Bucket(low: native.upperBound(of: index - 1), high: native.upperBound(of: index), count: Double(count)))
        }
        self.init(buckets: buckets, sum: histogram.sum)
    }
}
