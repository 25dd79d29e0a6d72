// SPDX-License-Identifier: Apache-2.0

/// Collects the lines of an exposition.
public struct SampleWriter {
    /// The format of the lines.
    public let format: ExpositionFormat

    /// Memory for the lines; only the first `count` bytes are lines.
    private var bytes: [UInt8] = []
    private(set) var count = 0
    private var line: [UInt8] = []

    /// Takes over a buffer's memory.
    init(format: ExpositionFormat, reusing buffer: inout [UInt8]) {
        self.format = format
        swap(&bytes, &buffer)
    }

    /// Hands the memory back, with the lines as its content.
    mutating func finish(into buffer: inout [UInt8]) {
        bytes.removeLast(bytes.count - count)
        swap(&bytes, &buffer)
        count = 0
    }

    /// Forgets what was written after a moment.
    mutating func rewind(to count: Int) {
        self.count = count
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
    public mutating func sample(_ name: String, labels: [(name: String, value: String)] = [], value: Double) {
        line.removeAll(keepingCapacity: true)
        line.append(contentsOf: name.utf8)
        var sound: [(name: String, value: String)] = []
        for label in labels
        where MetricGrammar.problem(labelName: label.name) == nil && !sound.contains(where: { $0.name == label.name }) {
            sound.append(label)
        }
        TextEscaping.append(labels: sound, to: &line)
        line.append(UInt8(ascii: " "))
        let prefix = line
        prefix.withUnsafeBufferPointer { sample(prefix: $0, value) }
    }

    /// Writes a sample whose name and labels, with the space behind them, were rendered before.
    @inline(__always)
    mutating func sample(prefix: UnsafeBufferPointer<UInt8>, _ value: UInt64) {
        reserve(prefix.count + NumberFormat.maximumLength + 1)
        count = bytes.withUnsafeMutableBufferPointer { buffer in
            guard let first = buffer.baseAddress, let source = prefix.baseAddress else { return count }
            var end = first + count
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
        reserve(prefix.count + NumberFormat.maximumLength + 1)
        count = bytes.withUnsafeMutableBufferPointer { buffer in
            guard let first = buffer.baseAddress, let source = prefix.baseAddress else { return count }
            var end = first + count
            end.update(from: source, count: prefix.count)
            end += prefix.count
            end += NumberFormat.write(value, to: end)
            end.pointee = UInt8(ascii: "\n")
            return end + 1 - first
        }
    }

    /// Writes the lines in front of a family's samples.
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
        }
        let lines = line
        append(lines)
    }

    /// Writes what ends an exposition.
    mutating func end() {
        if format == .openMetrics { append(Array("# EOF\n".utf8)) }
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

    private mutating func append(_ lines: [UInt8]) {
        reserve(lines.count)
        bytes.replaceSubrange(count..<count + lines.count, with: lines)
        count += lines.count
    }

    /// Makes room for more bytes behind the lines. The array's unused end is kept initialised, so that the lines
    /// can be written through a pointer.
    @inline(__always)
    private mutating func reserve(_ more: Int) {
        if bytes.count - count < more { grow(more) }
    }

    @inline(never)
    private mutating func grow(_ more: Int) {
        let size = max(bytes.capacity, 2 * bytes.count, count + more, 4096)
        bytes.append(contentsOf: repeatElement(0, count: size - bytes.count))
    }
}
