// SPDX-License-Identifier: Apache-2.0

import Glibc

/// An exposition in Prometheus' protobuf format, read back: what programs need that compare or test services.
///
/// Ask for it with the header `Accept:` ``accept``. Whatever the bytes are, reading them ends with a snapshot or an
/// error; what is not known is skipped, as protobuf wants it.
package struct ExpositionSnapshot: Sendable {
    /// What a client's `Accept` header says to get this format.
    package static let accept =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

    /// Metrics of one name.
    package struct Family: Sendable {
        /// The name as in the text format: a counter's ends in `_total`, an information's in `_info`.
        package var name = ""
        package var help = ""
        /// `nil` for a type that Muster does not have. An information is a gauge here.
        package var type: MetricType?
        package var series: [Series] = []
    }

    /// A series with its labels.
    package struct Series: Sendable {
        package enum Value: Hashable, Sendable {
            case number(Double)
            case histogram(ExposedHistogram)
        }

        package var labels: [String: String] = [:]
        package var value = Value.number(.nan)

        /// The value of a counter or a gauge.
        package var number: Double? { if case .number(let number) = value { number } else { nil } }
        package var histogram: ExposedHistogram? {
            if case .histogram(let histogram) = value { histogram } else { nil }
        }
    }

    /// The families in the order of the exposition.
    package private(set) var families: [Family] = []

    /// Reads an exposition: messages `io.prometheus.client.MetricFamily`, each with its length in front.
    package init(protobuf bytes: [UInt8]) throws(ExpositionError) {
        var reader = MessageReader(bytes[...])
        while !reader.isAtEnd {
            let family = try Family(reader.message())
            if let known = families.firstIndex(where: { $0.name == family.name && $0.type == family.type }) {
                families[known].series += family.series
            } else {
                families.append(family)
            }
        }
    }

    /// The series of a family that have these labels, and perhaps more.
    package func series(_ name: String, _ labels: [String: String] = [:]) -> [Series] {
        families.filter { $0.name == name }.flatMap(\.series)
            .filter { series in labels.allSatisfy { series.labels[$0.key] == $0.value } }
    }
}

/// A histogram of an exposition: its classic buckets and, of a precise one, its native ones.
package struct ExposedHistogram: Hashable, Sendable {
    /// The buckets that the text formats show, too.
    package var classic: HistogramSnapshot
    /// `nil` for a histogram without native buckets.
    package var native: NativeHistogram?

    package var count: UInt64 { classic.count }
    package var sum: Double { classic.sum }

    /// The value that a share of the observations did not exceed, by the native buckets if there are any; `nil` without
    /// observations.
    package func quantile(_ share: Double) -> Double? { native.map { $0.quantile(share) } ?? classic.quantile(share) }

    /// Adds the observations of another one, as of another worker. Native buckets stay only if both have them.
    package mutating func add(_ other: ExposedHistogram) {
        classic.add(other.classic)
        if let theirs = other.native, native?.add(theirs) == true { return }
        native = nil
    }

    /// What has been observed since an earlier reading of the same series; all of it if the series has begun anew since.
    package func since(_ earlier: ExposedHistogram) -> ExposedHistogram {
        guard earlier.count <= count else { return self }
        let native = native.flatMap { own in earlier.native.flatMap { own.since($0) } }
        return ExposedHistogram(classic: classic.since(earlier.classic), native: native)
    }
}

/// Buckets whose bounds are powers of 2^(2^-schema), as Prometheus' native histograms have them.
package struct NativeHistogram: Hashable, Sendable {
    package var schema: Int
    /// Up to where observations count as 0.
    package var zeroThreshold: Double
    package var zeroCount: UInt64
    /// How many observations are in each bucket, by the bucket's index: it ends with ``upperBound(of:)``.
    package var buckets: [Int: UInt64]

    package init(schema: Int, zeroThreshold: Double, zeroCount: UInt64, buckets: [Int: UInt64]) {
        self.schema = schema
        self.zeroThreshold = zeroThreshold
        self.zeroCount = zeroCount
        self.buckets = buckets
    }

    /// The upper bound of a bucket, and the lower one of the next.
    package func upperBound(of index: Int) -> Double {
        schema == NativeBuckets.schema ? NativeBuckets.bound(index) : exp2(scalbn(Double(index), Int32(-schema)))
    }

    /// How many observations there are.
    package var count: UInt64 { buckets.values.reduce(zeroCount) { $0.saturatingSum($1) } }

    /// The value that a share of the observations did not exceed: within a bucket they are taken to be spread evenly, as
    /// Prometheus 2 does. It is off by less than the bucket is wide.
    ///
    /// - Parameter share: The share, 0 to 1.
    /// - Returns: The estimate; `nil` without observations.
    package func quantile(_ share: Double) -> Double? {
        let total = buckets.values.reduce(Double(zeroCount)) { $0 + Double($1) }
        guard total > 0 else { return nil }
        let rank = min(max(share, 0), 1) * total
        if zeroCount > 0, Double(zeroCount) >= rank { return zeroThreshold * rank / Double(zeroCount) }
        var below = Double(zeroCount)
        var last: Double?
        for (index, count) in buckets.sorted(by: { $0.key < $1.key }) where count > 0 {
            let (start, end) = (max(upperBound(of: index - 1), zeroThreshold), upperBound(of: index))
            if below + Double(count) >= rank { return start + (end - start) * ((rank - below) / Double(count)) }
            below += Double(count)
            last = end
        }
        return last
    }

    /// Adds the observations of another histogram; returns `false`, and does nothing, if its buckets are others.
    package mutating func add(_ other: NativeHistogram) -> Bool {
        guard schema == other.schema, zeroThreshold == other.zeroThreshold else { return false }
        zeroCount = zeroCount.saturatingSum(other.zeroCount)
        buckets.merge(other.buckets) { $0.saturatingSum($1) }
        return true
    }

    /// What has been observed since an earlier reading; `nil` if its buckets are others.
    package func since(_ earlier: NativeHistogram) -> NativeHistogram? {
        guard schema == earlier.schema, zeroThreshold == earlier.zeroThreshold else { return nil }
        func difference(_ now: UInt64, _ before: UInt64) -> UInt64 { now > before ? now - before : 0 }
        var result = self
        result.zeroCount = difference(zeroCount, earlier.zeroCount)
        for (index, count) in buckets { result.buckets[index] = difference(count, earlier.buckets[index] ?? 0) }
        return result
    }
}

/// Why bytes are no exposition.
package struct ExpositionError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Where, counted from the first byte.
    package let offset: Int
    package let reason: String

    package var description: String {
        "the metrics are not in Prometheus' protobuf format: \(reason) at byte \(offset)"
    }
}

// MARK: - Messages

extension ExpositionSnapshot.Family {
    fileprivate init(_ message: MessageReader) throws(ExpositionError) {
        var message = message
        var typeNumber: UInt64 = 0
        while let field = try message.field() {
            switch field.key {
            case ProtobufField.Family.name: name = try field.text()
            case ProtobufField.Family.help: help = try field.text()
            case ProtobufField.Family.type: typeNumber = field.number
            case ProtobufField.Family.metric: series.append(try ExpositionSnapshot.Series(field.message))
            default: break
            }
        }
        guard !name.isEmpty else { throw message.error("a family without a name") }
        type = [MetricType.counter, .gauge, .histogram].first { ProtobufField.type($0) == typeNumber }
    }
}

extension ExpositionSnapshot.Series {
    fileprivate init(_ message: MessageReader) throws(ExpositionError) {
        var message = message
        while let field = try message.field() {
            switch field.key {
            case ProtobufField.Metric.label:
                let label = try Self.label(field.message)
                labels[label.name] = label.value
            case ProtobufField.Metric.gauge, ProtobufField.Metric.counter, ProtobufField.Metric.untyped:
                var content = field.message
                var number = 0.0
                while let field = try content.field() {
                    if field.key == ProtobufField.value { number = field.double }
                }
                value = .number(number)
            case ProtobufField.Metric.histogram: value = .histogram(try ExposedHistogram(field.message))
            default: break
            }
        }
    }

    private static func label(_ message: MessageReader) throws(ExpositionError) -> (name: String, value: String) {
        var message = message
        var (name, value) = ("", "")
        while let field = try message.field() {
            switch field.key {
            case ProtobufField.Label.name: name = try field.text()
            case ProtobufField.Label.value: value = try field.text()
            default: break
            }
        }
        return (name, value)
    }
}

extension ExposedHistogram {
    fileprivate init(_ message: MessageReader) throws(ExpositionError) {
        var message = message
        classic = HistogramSnapshot(count: 0, sum: 0, bounds: [], bucketCounts: [])
        var below: UInt64 = 0
        var found = NativeHistogram(schema: 0, zeroThreshold: 0, zeroCount: 0, buckets: [:])
        var spans: [(offset: Int64, length: UInt64)] = []
        var deltas: [Int64] = []
        while let field = try message.field() {
            switch field.key {
            case ProtobufField.Histogram.count: classic.count = field.number
            case ProtobufField.Histogram.sum: classic.sum = field.double
            case ProtobufField.Histogram.bucket:
                let bucket = try Self.bucket(field.message)
                guard bucket.bound > classic.bounds.last ?? -.infinity, bucket.cumulated >= below else {
                    throw message.error("a bucket that is not above the one before")
                }
                guard bucket.bound.isFinite else { continue }
                classic.bounds.append(bucket.bound)
                classic.bucketCounts.append(bucket.cumulated - below)
                below = bucket.cumulated
            case ProtobufField.Histogram.schema: found.schema = Int(clamping: Varint.signed(field.number))
            case ProtobufField.Histogram.zeroThreshold: found.zeroThreshold = field.double
            case ProtobufField.Histogram.zeroCount: found.zeroCount = field.number
            case ProtobufField.Histogram.positiveSpan: spans.append(try Self.span(field.message))
            case ProtobufField.Histogram.positiveDelta:
                var content = field.message
                while !content.isAtEnd { deltas.append(Varint.signed(try content.varint())) }
            case ProtobufField.Histogram.positiveDeltaUnpacked: deltas.append(Varint.signed(field.number))
            case ProtobufField.Histogram.negativeSpan:
                throw message.error("native buckets below 0, which are not supported")
            default: break
            }
        }
        guard classic.count >= below else { throw message.error("fewer observations than in its buckets") }
        classic.bucketCounts.append(classic.count - below)
        guard found.zeroThreshold > 0 || found.zeroCount > 0 || !spans.isEmpty else { return }
        guard (-4...8).contains(found.schema) else { throw message.error("native buckets of schema \(found.schema)") }
        guard let buckets = Self.buckets(spans, deltas) else {
            throw message.error("native buckets that contradict their spans")
        }
        found.buckets = buckets
        native = found
    }

    private static func bucket(_ message: MessageReader) throws(ExpositionError) -> (bound: Double, cumulated: UInt64) {
        var message = message
        var (bound, cumulated) = (0.0, UInt64(0))
        while let field = try message.field() {
            switch field.key {
            case ProtobufField.Bucket.cumulativeCount: cumulated = field.number
            case ProtobufField.Bucket.upperBound: bound = field.double
            default: break
            }
        }
        return (bound, cumulated)
    }

    private static func span(_ message: MessageReader) throws(ExpositionError) -> (offset: Int64, length: UInt64) {
        var message = message
        var (offset, length) = (Int64(0), UInt64(0))
        while let field = try message.field() {
            switch field.key {
            case ProtobufField.Span.offset: offset = Varint.signed(field.number)
            case ProtobufField.Span.length: length = field.number
            default: break
            }
        }
        return (offset, length)
    }

    /// The buckets that spans and the differences between neighbours describe. There are never more than differences.
    private static func buckets(_ spans: [(offset: Int64, length: UInt64)], _ deltas: [Int64]) -> [Int: UInt64]? {
        var buckets: [Int: UInt64] = [:]
        var rest = deltas[...]
        var index = 0
        var count: Int64 = 0
        for (place, span) in spans.enumerated() {
            // The indices of the largest and the smallest double, and some more.
            guard (-1_000_000...1_000_000).contains(span.offset), span.length <= UInt64(rest.count),
                place == 0 || span.offset >= 0
            else { return nil }
            index += Int(span.offset)
            for delta in rest.prefix(Int(span.length)) {
                let (next, overflow) = count.addingReportingOverflow(delta)
                guard !overflow, next >= 0 else { return nil }
                count = next
                if count > 0 { buckets[index] = UInt64(count) }
                index += 1
            }
            rest = rest.dropFirst(Int(span.length))
        }
        return rest.isEmpty ? buckets : nil
    }
}

/// Reads the fields of one message.
private struct MessageReader {
    /// A field: its number and encoding as on the wire, and its value.
    struct Field {
        let key: UInt64
        /// An integer, or the bits of a double.
        var number: UInt64 = 0
        /// What has a length.
        var message: MessageReader

        var double: Double { Double(bitPattern: number) }

        func text() throws(ExpositionError) -> String {
            guard let text = String(validating: message.bytes, as: UTF8.self) else {
                throw message.error("a text that is not UTF-8")
            }
            return text
        }
    }

    private(set) var bytes: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
    }

    var isAtEnd: Bool { bytes.isEmpty }

    func error(_ reason: String) -> ExpositionError { ExpositionError(offset: bytes.startIndex, reason: reason) }

    /// The next field; `nil` at the end.
    mutating func field() throws(ExpositionError) -> Field? {
        guard !isAtEnd else { return nil }
        var field = Field(key: try varint(), message: MessageReader([]))
        switch field.key & 7 {
        case 0: field.number = try varint()
        case 1: field.number = try word(8)
        case 2: field.message = try message()
        case 5: field.number = try word(4)
        default: throw error("a field of the unknown encoding \(field.key & 7)")
        }
        return field
    }

    /// A message with its length in front.
    mutating func message() throws(ExpositionError) -> MessageReader {
        let length = try varint()
        guard length <= UInt64(bytes.count) else { throw error("the bytes end within a message") }
        defer { bytes = bytes.dropFirst(Int(length)) }
        return MessageReader(bytes.prefix(Int(length)))
    }

    mutating func varint() throws(ExpositionError) -> UInt64 {
        var value: UInt64 = 0
        for place in 0..<Varint.maximumLength {
            guard let byte = bytes.popFirst() else { throw error("the bytes end within a number") }
            value |= UInt64(byte & 0x7F) << UInt64(7 * place)
            if byte & 0x80 == 0 { return value }
        }
        throw error("a number that is too long")
    }

    private mutating func word(_ length: Int) throws(ExpositionError) -> UInt64 {
        guard length <= bytes.count else { throw error("the bytes end within a number") }
        var word: UInt64 = 0
        for place in 0..<length { word |= UInt64(bytes[bytes.startIndex + place]) << UInt64(8 * place) }
        bytes = bytes.dropFirst(length)
        return word
    }
}
