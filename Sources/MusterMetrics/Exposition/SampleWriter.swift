// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// Collects the lines, or the messages, of an exposition.
package struct SampleWriter {
    /// The format of the exposition.
    package let format: ExpositionFormat

    var buffer: ExpositionBuffer
    private var line: [UInt8] = []
    /// The type of the family under way, and where its message begins.
    var family: (type: MetricType, start: Int)?

    /// Begins an exposition in place of what the memory has.
    init(format: ExpositionFormat, into memory: GrowingBytes) {
        self.format = format
        buffer = ExpositionBuffer(memory)
    }

    /// How many bytes are written.
    var count: Int { buffer.count }

    /// Forgets what was written after a moment, with the family under way.
    mutating func rewind(to count: Int) {
        buffer.rewind(to: count)
        family = nil
    }

    /// Writes one sample.
    ///
    /// Labels whose names break the rules or come twice are left out, so that one wrong label never spoils the
    /// whole exposition.
    ///
    /// - Parameters:
    ///   - name: The sample's name: the family's name in the text format.
    ///   - labels: The labels, in the order in which they shall appear.
    ///   - value: The value.
    package mutating func sample(_ name: String, labels: [(name: String, value: String)] = [], value: Double) {
        line.removeAll(keepingCapacity: true)
        var sound: [(name: String, value: String)] = []
        for label in labels
        where MetricGrammar.problem(labelName: label.name) == nil && !sound.contains(where: { $0.name == label.name }) {
            sound.append(label)
        }
        if format == .protobuf {
            for label in sound { LabelMessage.append(Array(label.name.utf8), Array(label.value.utf8), to: &line) }
            let labels = line
            labels.withUnsafeBufferPointer { message(labels: $0, value) }
            return
        }
        line.append(contentsOf: name.utf8)
        TextEscaping.append(labels: sound, to: &line)
        line.append(UInt8(ascii: " "))
        let prefix = line
        prefix.withUnsafeBufferPointer { sample(prefix: $0, value) }
    }

    /// Writes a sample whose name and labels, with the space behind them, were rendered before.
    @inline(__always)
    mutating func sample(prefix: UnsafeBufferPointer<UInt8>, _ value: UInt64) {
        buffer.write(atMost: prefix.count + NumberFormat.maximumLength + 1) { first in
            guard let source = prefix.baseAddress else { return 0 }
            var end = first
            end.update(from: source, count: prefix.count)
            end += prefix.count
            end += NumberFormat.write(value, to: end)
            end.pointee = UInt8(ascii: "\n")
            return end + 1 - first
        }
    }

    /// Writes a sample whose name and labels, with the space behind them, were rendered before.
    @inline(__always)
    mutating func sample(prefix: UnsafeBufferPointer<UInt8>, _ value: Double) {
        buffer.write(atMost: prefix.count + NumberFormat.maximumLength + 1) { first in
            guard let source = prefix.baseAddress else { return 0 }
            var end = first
            end.update(from: source, count: prefix.count)
            end += prefix.count
            end += NumberFormat.write(value, to: end)
            end.pointee = UInt8(ascii: "\n")
            return end + 1 - first
        }
    }

    /// Writes a bucket's sample with an exemplar.
    mutating func sample(prefix: UnsafeBufferPointer<UInt8>, _ value: UInt64, _ exemplar: Exemplar?) {
        sample(prefix: prefix, value)
        guard let exemplar else { return }
        // Over the line's end.
        buffer.rewind(to: buffer.count - 1)
        buffer.write(atMost: Exemplar.maximumLength + 1) { first in
            let length = exemplar.write(to: first)
            first[length] = UInt8(ascii: "\n")
            return length + 1
        }
    }

    /// Writes what stands in front of a family's samples.
    mutating func metadata(of family: FamilyDescriptor) {
        line.removeAll(keepingCapacity: true)
        switch format {
        case .text:
            if !family.help.isEmpty { appendHelp(family.name, family.help) }
            let type = family.type == .info ? MetricType.gauge : family.type
            appendComment("TYPE", family.name, type.description)
        case .openMetrics:
            let name = family.baseName
            appendComment("TYPE", name, family.type.description)
            if let unit = family.unit, family.type != .info, name.hasSuffix("_" + unit.name) {
                appendComment("UNIT", name, unit.name)
            }
            if !family.help.isEmpty { appendHelp(name, family.help) }
        case .protobuf: beginMessage(of: family)
        }
        buffer.append(line)
    }

    /// Writes what stands behind a family's samples.
    mutating func endFamily() {
        if format == .protobuf { endMessage() }
    }

    /// Writes what ends an exposition, which is the memory's content then.
    mutating func end() {
        if format == .openMetrics { buffer.append(Array("# EOF\n".utf8)) }
        buffer.finish()
    }

    private mutating func appendComment(_ keyword: String, _ name: String, _ text: String) {
        line.append(contentsOf: "# ".utf8)
        line.append(contentsOf: keyword.utf8)
        line.append(UInt8(ascii: " "))
        line.append(contentsOf: name.utf8)
        line.append(UInt8(ascii: " "))
        line.append(contentsOf: text.utf8)
        line.append(UInt8(ascii: "\n"))
    }

    private mutating func appendHelp(_ name: String, _ help: String) {
        line.append(contentsOf: "# HELP ".utf8)
        line.append(contentsOf: name.utf8)
        line.append(UInt8(ascii: " "))
        TextEscaping.append(help: help, format: format, to: &line)
        line.append(UInt8(ascii: "\n"))
    }
}

/// Bytes that grow at their end. What is asked of the memory for each line is at hand here.
struct ExpositionBuffer {
    private let memory: GrowingBytes
    private var first: UnsafeMutablePointer<UInt8>
    private var capacity: Int
    private(set) var count = 0

    /// Begins in place of what the memory has.
    init(_ memory: GrowingBytes) {
        self.memory = memory
        memory.count = 0
        first = memory.pointer
        capacity = memory.capacity
    }

    /// Makes this the memory's content.
    func finish() {
        memory.count = count
    }

    /// Forgets what lies behind a place.
    mutating func rewind(to count: Int) {
        self.count = count
    }

    /// Writes behind the content.
    ///
    /// - Parameters:
    ///   - most: For how many bytes there has to be room.
    ///   - body: Writes to the pointer; returns how many bytes it has written.
    @inline(__always)
    mutating func write(atMost most: Int, _ body: (UnsafeMutablePointer<UInt8>) -> Int) {
        if capacity - count < most { grow(most) }
        count += body(first + count)
    }

    mutating func append(_ more: [UInt8]) {
        more.withUnsafeBufferPointer { append($0) }
    }

    @inline(__always)
    mutating func append(_ more: UnsafeBufferPointer<UInt8>) {
        guard let source = more.baseAddress else { return }
        write(atMost: more.count) { target in
            target.update(from: source, count: more.count)
            return more.count
        }
    }

    /// Moves what lies behind a place down, over what lies before it.
    mutating func close(gap: Range<Int>) {
        (first + gap.lowerBound).update(from: first + gap.upperBound, count: count - gap.upperBound)
        count -= gap.count
    }

    /// Overwrites content.
    @inline(__always)
    mutating func overwrite(at place: Int, _ body: (UnsafeMutablePointer<UInt8>) -> Void) {
        body(first + place)
    }

    @inline(never)
    private mutating func grow(_ more: Int) {
        finish()
        memory.reserve(more)
        first = memory.pointer
        capacity = memory.capacity
    }
}

/// Walks through the beginnings of a family's lines, one after the other.
struct LinePrefixes {
    /// The beginnings, one behind the other.
    let text: UnsafeBufferPointer<UInt8>
    /// Where each ends in the text.
    let ends: UnsafeBufferPointer<Int>
    private var line = 0
    private var start = 0

    init(text: UnsafeBufferPointer<UInt8>, ends: UnsafeBufferPointer<Int>) {
        self.text = text
        self.ends = ends
    }

    /// The next one; asked for no more often than there are lines.
    @inline(__always)
    mutating func next() -> UnsafeBufferPointer<UInt8> {
        let end = ends[line]
        defer {
            start = end
            line += 1
        }
        return UnsafeBufferPointer(rebasing: text[start..<end])
    }
}

/// Writes numbers as both exposition formats want them, without an intermediate string where that matters.
enum NumberFormat {
    /// The longest text any number takes.
    static let maximumLength = 32

    /// Writes an integer.
    ///
    /// - Returns: How many bytes were written, at most 20.
    @inline(__always)
    static func write(_ value: UInt64, to target: UnsafeMutablePointer<UInt8>) -> Int {
        var length = 1
        var limit: UInt64 = 10
        while value >= limit, length < 20 {
            length += 1
            let (next, overflow) = limit.multipliedReportingOverflow(by: 10)
            if overflow { break }
            limit = next
        }
        var rest = value
        var position = length
        while position > 0 {
            position -= 1
            let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
            target[position] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: digit)
            rest = quotient
        }
        return length
    }

    /// Writes a value: a whole number without a fraction or an exponent, anything else in the shortest form that
    /// reads back as the same double.
    static func write(_ value: Double, to target: UnsafeMutablePointer<UInt8>) -> Int {
        if value.magnitude < 0x1p63, value == value.rounded(.towardZero) {
            guard value < 0 else { return write(UInt64(value), to: target) }
            target[0] = UInt8(ascii: "-")
            return 1 + write(UInt64(-value), to: target + 1)
        }
        return copy(value.isFinite ? value.description : special(value), to: target)
    }

    /// A bound as a label's value: OpenMetrics' canonical number, for example `0.005`, `1.0`, `1e+06`, `+Inf`.
    static func canonical(_ value: Double) -> String {
        guard value.isFinite else { return special(value) }
        let text = value.description
        // Swift changes to exponents at 2^54, the canonical form at a million.
        guard value.magnitude >= 1e6, !text.contains("e") else { return text }
        let isNegative = value < 0
        let parts = (isNegative ? text.dropFirst() : text[...]).split(separator: ".")
        let whole = parts.first ?? "0"
        let fraction = parts.count > 1 && parts[1] != "0" ? parts[1] : ""
        var digits = String(whole + fraction)
        while digits.count > 1, digits.hasSuffix("0") { digits.removeLast() }
        let exponent = whole.count - 1
        let mantissa = digits.count > 1 ? "\(digits.prefix(1)).\(digits.dropFirst())" : digits
        return "\(isNegative ? "-" : "")\(mantissa)e+\(exponent < 10 ? "0" : "")\(exponent)"
    }

    private static func special(_ value: Double) -> String {
        value.isNaN ? "NaN" : value < 0 ? "-Inf" : "+Inf"
    }

    private static func copy(_ text: String, to target: UnsafeMutablePointer<UInt8>) -> Int {
        var length = 0
        for byte in text.utf8.prefix(maximumLength) {
            target[length] = byte
            length += 1
        }
        return length
    }
}

/// Escapes text for the exposition formats.
enum TextEscaping {
    /// Appends a help text: a backslash and a line feed are escaped, in OpenMetrics the double quote, too.
    static func append(help: String, format: ExpositionFormat, to bytes: inout [UInt8]) {
        append(help, escapingQuotes: format == .openMetrics, to: &bytes)
    }

    /// Appends `name="value"` with the value escaped, which both formats do alike.
    static func append(label name: String, value: String, to bytes: inout [UInt8]) {
        bytes.append(contentsOf: name.utf8)
        bytes.append(contentsOf: #"=""#.utf8)
        append(value, escapingQuotes: true, to: &bytes)
        bytes.append(UInt8(ascii: "\""))
    }

    /// Appends the labels in braces; nothing when there are none.
    static func append(labels: [(name: String, value: String)], to bytes: inout [UInt8]) {
        guard !labels.isEmpty else { return }
        var separator = UInt8(ascii: "{")
        for label in labels {
            bytes.append(separator)
            append(label: label.name, value: label.value, to: &bytes)
            separator = UInt8(ascii: ",")
        }
        bytes.append(UInt8(ascii: "}"))
    }

    private static func append(_ text: String, escapingQuotes: Bool, to bytes: inout [UInt8]) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\\"): bytes.append(contentsOf: #"\\"#.utf8)
            case UInt8(ascii: "\n"): bytes.append(contentsOf: #"\n"#.utf8)
            case UInt8(ascii: "\"") where escapingQuotes: bytes.append(contentsOf: #"\""#.utf8)
            default: bytes.append(byte)
            }
        }
    }
}
