// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Prometheus' protobuf format, with its native histograms: precise where the endpoint keeps precise buckets.
package struct ProtobufExposition: ExpositionFormat {
    package init() {}

    package var accept: String {
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
    }

    /// Whether a body is in this format: a length, and then the field of the first family's name.
    package static func isUsed(in body: [UInt8]) -> Bool {
        guard let end = body.prefix(10).firstIndex(where: { $0 < 0x80 }) else { return false }
        return body.count > end + 1 && body[end + 1] == 0x0A
    }

    package func read(_ body: [UInt8]) throws(ExpositionProblem) -> Snapshot {
        var snapshot = Snapshot()
        var reader = WireReader(body[...])
        var number = 0
        while !reader.isAtEnd {
            number += 1
            guard let family = reader.bytes(), Self.add(family, to: &snapshot) else {
                throw ExpositionProblem(line: number, reason: "not a metric family of the protobuf format")
            }
        }
        return snapshot
    }

    private static func add(_ family: ArraySlice<UInt8>, to snapshot: inout Snapshot) -> Bool {
        var name = ""
        var metrics: [ArraySlice<UInt8>] = []
        let isWhole = WireReader.each(family) { field, value in
            switch (field, value) {
            case (1, .bytes(let bytes)): name = String(decoding: bytes, as: UTF8.self)
            case (4, .bytes(let bytes)): metrics.append(bytes)
            default: break
            }
        }
        guard isWhole, !name.isEmpty else { return false }
        return metrics.allSatisfy { add(metric: $0, of: name, to: &snapshot) }
    }

    private static func add(metric: ArraySlice<UInt8>, of name: String, to snapshot: inout Snapshot) -> Bool {
        var labels: [String: String] = [:]
        var counter: Double?
        var gauge: Double?
        var histogram: Buckets?
        let isWhole = WireReader.each(metric) { field, value in
            guard case .bytes(let bytes) = value else { return }
            switch field {
            case 1:
                var pair = ["", ""]
                _ = WireReader.each(bytes) { part, value in
                    if case .bytes(let text) = value, part <= 2 {
                        pair[part - 1] = String(decoding: text, as: UTF8.self)
                    }
                }
                labels[pair[0]] = pair[1]
            // An empty message is a value of zero.
            case 2, 5: gauge = number(1, in: bytes)
            case 3: counter = number(1, in: bytes)
            case 7: histogram = buckets(bytes)
            default: break
            }
        }
        let series = Snapshot.Series(name, labels)
        if let counter, counter.isFinite { snapshot.counters[series] = counter }
        if let gauge, gauge.isFinite { snapshot.gauges[series] = gauge }
        if let histogram { snapshot.histograms[series] = histogram }
        return isWhole
    }

    private static func number(_ wanted: Int, in bytes: ArraySlice<UInt8>) -> Double {
        var result = 0.0
        _ = WireReader.each(bytes) { field, value in
            if field == wanted, case .fixed(let bits) = value { result = Double(bitPattern: bits) }
        }
        return result
    }

    /// The native buckets where there are any, else the classic ones.
    private static func buckets(_ bytes: ArraySlice<UInt8>) -> Buckets? {
        var count = 0.0
        var sum = 0.0
        var classic: [(bound: Double, count: Double)] = []
        var schema = 0
        var zero = (threshold: 0.0, count: 0.0)
        var spans: [(offset: Int, length: Int)] = []
        var deltas: [Int] = []
        let isWhole = WireReader.each(bytes) { field, value in
            switch (field, value) {
            case (1, .variable(let number)): count = Double(number)
            case (2, .fixed(let bits)): sum = Double(bitPattern: bits)
            case (3, .bytes(let bucket)):
                var entry = (bound: 0.0, count: 0.0)
                _ = WireReader.each(bucket) { part, value in
                    if part == 1, case .variable(let number) = value { entry.count = Double(number) }
                    if part == 2, case .fixed(let bits) = value { entry.bound = Double(bitPattern: bits) }
                }
                classic.append(entry)
            case (5, .variable(let number)): schema = WireReader.signed(number)
            case (6, .fixed(let bits)): zero.threshold = Double(bitPattern: bits)
            case (7, .variable(let number)): zero.count = Double(number)
            case (12, .bytes(let span)):
                var entry = (offset: 0, length: 0)
                _ = WireReader.each(span) { part, value in
                    guard case .variable(let number) = value else { return }
                    if part == 1 {
                        entry.offset = WireReader.signed(number)
                    } else {
                        entry.length = Int(clamping: number)
                    }
                }
                spans.append(entry)
            case (13, .variable(let number)): deltas.append(WireReader.signed(number))
            case (13, .bytes(let packed)):
                var reader = WireReader(packed)
                while let number = reader.variable() { deltas.append(WireReader.signed(number)) }
            default: break
            }
        }
        guard isWhole else { return nil }
        guard !spans.isEmpty || zero.count > 0 || zero.threshold > 0 else {
            if classic.last?.bound != .infinity { classic.append((.infinity, count)) }
            return Buckets(cumulative: classic, sum: sum)
        }
        var result: [Buckets.Bucket] = []
        if zero.count > 0 { result.append(Buckets.Bucket(low: 0, high: zero.threshold, count: zero.count)) }
        var index = 0
        var filled = 0
        var last = deltas.makeIterator()
        for span in spans {
            index &+= span.offset
            for _ in 0..<min(span.length, deltas.count) {
                guard let delta = last.next() else { return nil }
                filled &+= delta
                // Bounds are powers of 2^(2^-schema).
                let low = exp2(Double(index &- 1) * exp2(Double(-schema)))
                let high = exp2(Double(index) * exp2(Double(-schema)))
                result.append(Buckets.Bucket(low: low, high: high, count: Double(max(0, filled))))
                index &+= 1
            }
        }
        return Buckets(buckets: result, sum: sum)
    }
}

/// Reads protobuf's wire format.
private struct WireReader {
    enum Value {
        case variable(UInt64)
        case fixed(UInt64)
        case bytes(ArraySlice<UInt8>)
    }

    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    var isAtEnd: Bool { rest.isEmpty }

    /// Hands out each field; false where the message is cut off or malformed.
    static func each(_ message: ArraySlice<UInt8>, _ body: (Int, Value) -> Void) -> Bool {
        var reader = WireReader(message)
        while !reader.isAtEnd {
            guard let tag = reader.variable(), tag >> 3 > 0, tag >> 3 < 1 << 29, let value = reader.value(tag & 7)
            else {
                return false
            }
            body(Int(tag >> 3), value)
        }
        return true
    }

    static func signed(_ number: UInt64) -> Int { Int(truncatingIfNeeded: number >> 1) ^ -Int(number & 1) }

    mutating func variable() -> UInt64? {
        var result: UInt64 = 0
        for shift in stride(from: UInt64(0), through: 63, by: 7) {
            guard let byte = rest.popFirst() else { return nil }
            result |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return result }
        }
        return nil
    }

    mutating func bytes() -> ArraySlice<UInt8>? {
        guard let length = variable(), length <= UInt64(rest.count) else { return nil }
        let result = rest.prefix(Int(length))
        rest = rest.dropFirst(Int(length))
        return result
    }

    private mutating func value(_ kind: UInt64) -> Value? {
        switch kind {
        case 0: return variable().map(Value.variable)
        case 1: return fixed(8).map(Value.fixed)
        case 2: return bytes().map(Value.bytes)
        case 5: return fixed(4).map(Value.fixed)
        default: return nil
        }
    }

    private mutating func fixed(_ count: Int) -> UInt64? {
        guard rest.count >= count else { return nil }
        let result = rest.prefix(count).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        rest = rest.dropFirst(count)
        return result
    }
}
