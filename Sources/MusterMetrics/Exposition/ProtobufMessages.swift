// SPDX-License-Identifier: Apache-2.0

/// The fields of `io.prometheus.client`'s messages in the order of their definition, as they stand on the wire: the
/// field's number and, in the last three bits, how it is encoded.
enum ProtobufField {
    enum Family {
        static let name: UInt64 = 1 << 3 | 2
        static let help: UInt64 = 2 << 3 | 2
        static let type: UInt64 = 3 << 3
        static let metric: UInt64 = 4 << 3 | 2
    }

    enum Metric {
        static let label: UInt64 = 1 << 3 | 2
        static let gauge: UInt64 = 2 << 3 | 2
        static let counter: UInt64 = 3 << 3 | 2
        static let untyped: UInt64 = 5 << 3 | 2
        static let histogram: UInt64 = 7 << 3 | 2
    }

    enum Label {
        static let name: UInt64 = 1 << 3 | 2
        static let value: UInt64 = 2 << 3 | 2
    }

    /// The only field of counters, gauges and untyped metrics that is used here.
    static let value: UInt64 = 1 << 3 | 1

    enum Histogram {
        static let count: UInt64 = 1 << 3
        static let sum: UInt64 = 2 << 3 | 1
        static let bucket: UInt64 = 3 << 3 | 2
        static let schema: UInt64 = 5 << 3
        static let zeroThreshold: UInt64 = 6 << 3 | 1
        static let zeroCount: UInt64 = 7 << 3
        static let negativeSpan: UInt64 = 9 << 3 | 2
        static let positiveSpan: UInt64 = 12 << 3 | 2
        static let positiveDelta: UInt64 = 13 << 3 | 2
        /// The same, each number in a field of its own.
        static let positiveDeltaUnpacked: UInt64 = 13 << 3
    }

    enum Bucket {
        static let cumulativeCount: UInt64 = 1 << 3
        static let upperBound: UInt64 = 2 << 3 | 1
    }

    enum Span {
        static let offset: UInt64 = 1 << 3
        static let length: UInt64 = 2 << 3
    }

    /// The values of `MetricType`.
    static func type(_ type: MetricType) -> UInt64 {
        switch type {
        case .counter: 0
        case .gauge, .info: 1
        case .histogram: 4
        }
    }
}

/// Integers of seven bits a byte, the low ones first; all bytes but the last have the highest bit set.
enum Varint {
    static let maximumLength = 10

    @inline(__always)
    static func length(_ value: UInt64) -> Int {
        (63 - (value | 1).leadingZeroBitCount) / 7 + 1
    }

    @inline(__always)
    static func write(_ value: UInt64, to target: UnsafeMutablePointer<UInt8>) -> Int {
        var rest = value
        var length = 0
        while rest >= 0x80 {
            target[length] = UInt8(truncatingIfNeeded: rest) | 0x80
            rest >>= 7
            length += 1
        }
        target[length] = UInt8(truncatingIfNeeded: rest)
        return length + 1
    }

    static func append(_ value: UInt64, to bytes: inout [UInt8]) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    /// A signed number such that one of small magnitude is short.
    @inline(__always)
    static func zigzag(_ value: Int64) -> UInt64 { UInt64(bitPattern: value << 1 ^ value >> 63) }

    static func signed(_ zigzag: UInt64) -> Int64 { Int64(bitPattern: zigzag >> 1) ^ -Int64(zigzag & 1) }
}

/// Encodes labels.
enum LabelMessage {
    /// Appends the field `label` of a metric.
    static func append(_ name: some Collection<UInt8>, _ value: some Collection<UInt8>, to bytes: inout [UInt8]) {
        let nameLength = UInt64(name.count)
        let valueLength = UInt64(value.count)
        Varint.append(ProtobufField.Metric.label, to: &bytes)
        Varint.append(
            UInt64(2 + Varint.length(nameLength) + Varint.length(valueLength)) + nameLength + valueLength, to: &bytes)
        Varint.append(ProtobufField.Label.name, to: &bytes)
        Varint.append(nameLength, to: &bytes)
        bytes.append(contentsOf: name)
        Varint.append(ProtobufField.Label.value, to: &bytes)
        Varint.append(valueLength, to: &bytes)
        bytes.append(contentsOf: value)
    }

    /// Appends the labels of a line of text that ``TextEscaping`` has written, so that they need not be kept twice.
    static func append(ofLine line: ArraySlice<UInt8>, to bytes: inout [UInt8]) {
        guard var rest = line.firstIndex(of: UInt8(ascii: "{")).map({ line[($0 + 1)...] }) else { return }
        while let equals = rest.firstIndex(of: UInt8(ascii: "=")) {
            let name = rest[..<equals]
            var value: [UInt8] = []
            var place = equals + 2
            while place < rest.endIndex, rest[place] != UInt8(ascii: "\"") {
                var byte = rest[place]
                if byte == UInt8(ascii: "\\"), place + 1 < rest.endIndex {
                    place += 1
                    byte = rest[place] == UInt8(ascii: "n") ? UInt8(ascii: "\n") : rest[place]
                }
                value.append(byte)
                place += 1
            }
            append(name, value, to: &bytes)
            guard place + 1 < rest.endIndex, rest[place + 1] == UInt8(ascii: ",") else { return }
            rest = rest[(place + 2)...]
        }
    }
}

extension SampleWriter {
    /// Begins the message of a family.
    mutating func beginMessage(of descriptor: FamilyDescriptor) {
        family = (descriptor.type, buffer.beginMessage())
        buffer.field(ProtobufField.Family.name, descriptor.name)
        if !descriptor.help.isEmpty { buffer.field(ProtobufField.Family.help, descriptor.help) }
        buffer.field(ProtobufField.Family.type, ProtobufField.type(descriptor.type))
    }

    /// Ends the message of the family under way.
    mutating func endMessage() {
        guard let family else { return }
        buffer.endMessage(family.start)
        self.family = nil
    }

    /// Writes the metric of a counter, a gauge or an information.
    @inline(__always)
    mutating func message(labels: UnsafeBufferPointer<UInt8>, _ value: Double) {
        let isCounter = family?.type == .counter
        buffer.write(atMost: 2 * Varint.maximumLength + 11) { first in
            var end = first
            end += Varint.write(ProtobufField.Family.metric, to: end)
            end += Varint.write(UInt64(labels.count + 11), to: end)
            return end - first
        }
        buffer.append(labels)
        buffer.write(atMost: 11) { first in
            first[0] = UInt8(isCounter ? ProtobufField.Metric.counter : ProtobufField.Metric.gauge)
            first[1] = 9
            first[2] = UInt8(ProtobufField.value)
            UnsafeMutableRawPointer(first + 3).storeBytes(of: value.bitPattern.littleEndian, as: UInt64.self)
            return 11
        }
    }

    /// Writes the metric of a histogram.
    ///
    /// - Parameter counts: How many observations are in each bucket of the layout, and beyond the last one.
    mutating func message(
        labels: UnsafeBufferPointer<UInt8>, _ counts: UnsafeBufferPointer<UInt64>, _ sum: Double,
        _ layout: BucketLayout
    ) {
        let metric = buffer.beginMessage(ProtobufField.Family.metric)
        buffer.append(labels)
        let histogram = buffer.beginMessage(ProtobufField.Metric.histogram)
        buffer.field(ProtobufField.Histogram.count, counts.reduce(0) { $0.saturatingSum($1) })
        buffer.field(ProtobufField.Histogram.sum, sum)
        var total: UInt64 = 0
        var bucket = 0
        // The one up to +Inf is the count.
        for end in layout.classicEnds.dropLast() {
            while bucket <= Int(end) {
                total = total.saturatingSum(counts[bucket])
                bucket += 1
            }
            // There are many of these, and their length is known.
            buffer.write(atMost: Varint.maximumLength + 12) { first in
                let length = Varint.length(total)
                first[0] = UInt8(ProtobufField.Histogram.bucket)
                first[1] = UInt8(length + 10)
                first[2] = UInt8(ProtobufField.Bucket.cumulativeCount)
                _ = Varint.write(total, to: first + 3)
                first[3 + length] = UInt8(ProtobufField.Bucket.upperBound)
                UnsafeMutableRawPointer(first + 4 + length)
                    .storeBytes(of: layout.first[Int(end)].bitPattern.littleEndian, as: UInt64.self)
                return length + 12
            }
        }
        if let native = layout.native { append(native, counts, layout.nativeEnds) }
        buffer.endMessage(histogram)
        buffer.endMessage(metric)
    }

    /// Writes the native buckets of a histogram.
    private mutating func append(
        _ native: NativeBuckets, _ counts: UnsafeBufferPointer<UInt64>, _ ends: [UInt16]
    ) {
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: ends.count) { sums in
            var bucket = 0
            for (place, end) in ends.enumerated() {
                var sum: UInt64 = 0
                while bucket <= Int(end) {
                    sum = sum.saturatingSum(counts[bucket])
                    bucket += 1
                }
                sums[place] = sum
            }
            buffer.field(ProtobufField.Histogram.schema, Varint.zigzag(Int64(NativeBuckets.schema)))
            buffer.field(ProtobufField.Histogram.zeroThreshold, NativeBuckets.bound(native.zeroIndex))
            buffer.field(ProtobufField.Histogram.zeroCount, sums[0])
            // The first span begins at its index, each further one so many empty buckets behind the one before.
            var spanEnd = -native.zeroIndex
            var from = 1
            while let span = Self.span(in: sums, from: from) {
                let message = buffer.beginMessage(ProtobufField.Histogram.positiveSpan)
                buffer.field(ProtobufField.Span.offset, Varint.zigzag(Int64(span.lowerBound - spanEnd)))
                buffer.field(ProtobufField.Span.length, UInt64(span.count))
                buffer.endMessage(message)
                spanEnd = span.upperBound
                from = spanEnd
            }
            guard from > 1 else {
                // An empty span tells that there are native buckets, though none has observations yet.
                buffer.endMessage(buffer.beginMessage(ProtobufField.Histogram.positiveSpan))
                return
            }
            let message = buffer.beginMessage(ProtobufField.Histogram.positiveDelta)
            var before: Int64 = 0
            from = 1
            while let span = Self.span(in: sums, from: from) {
                for place in span {
                    let count = Int64(clamping: sums[place])
                    buffer.varint(Varint.zigzag(count - before))
                    before = count
                }
                from = span.upperBound
            }
            buffer.endMessage(message)
        }
    }

    /// The next run of buckets that are told: those with observations, and one or two empty ones between them, which take
    /// less room than a span of their own.
    private static func span(in sums: UnsafeMutableBufferPointer<UInt64>, from: Int) -> Range<Int>? {
        guard let start = sums[from...].firstIndex(where: { $0 > 0 }) else { return nil }
        var end = start + 1
        var place = end
        while place < sums.count, place - end <= 2 {
            if sums[place] > 0 { end = place + 1 }
            place += 1
        }
        return start..<end
    }
}

extension ExpositionBuffer {
    /// The longest length that is written in front of a message.
    private static var longestLength: Int { 5 }

    /// Begins a message within another one, or, without a field, one by itself.
    ///
    /// - Returns: What ``endMessage(_:)`` needs: where the content begins.
    mutating func beginMessage(_ field: UInt64? = nil) -> Int {
        write(atMost: Varint.maximumLength + Self.longestLength) { first in
            (field.map { Varint.write($0, to: first) } ?? 0) + Self.longestLength
        }
        return count
    }

    /// Ends a message: puts its length in front of it.
    mutating func endMessage(_ start: Int) {
        let length = UInt64(count - start)
        let place = start - Self.longestLength
        overwrite(at: place) { _ = Varint.write(length, to: $0) }
        close(gap: place + Varint.length(length)..<start)
    }

    mutating func varint(_ value: UInt64) {
        write(atMost: Varint.maximumLength) { Varint.write(value, to: $0) }
    }

    mutating func field(_ field: UInt64, _ value: UInt64) {
        write(atMost: 2 * Varint.maximumLength) { first in
            let length = Varint.write(field, to: first)
            return length + Varint.write(value, to: first + length)
        }
    }

    mutating func field(_ field: UInt64, _ value: Double) {
        write(atMost: Varint.maximumLength + 8) { first in
            let length = Varint.write(field, to: first)
            UnsafeMutableRawPointer(first + length).storeBytes(of: value.bitPattern.littleEndian, as: UInt64.self)
            return length + 8
        }
    }

    mutating func field(_ field: UInt64, _ text: String) {
        varint(field)
        varint(UInt64(text.utf8.count))
        append(Array(text.utf8))
    }
}
