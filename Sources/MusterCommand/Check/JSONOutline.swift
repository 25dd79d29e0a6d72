// SPDX-License-Identifier: Apache-2.0

/// The keys of a JSON document with the lines they stand in, which decoders do not tell.
struct JSONOutline: Hashable, Sendable {
    /// A key that has a value other than an object.
    struct Leaf: Hashable, Sendable {
        /// The keys from the outermost object down, joined by dots.
        let path: String
        /// The line of the key, from 1 on.
        let line: Int
    }

    /// Where a document is no JSON.
    struct Problem: Error, Hashable, Sendable {
        /// The line, from 1 on.
        let line: Int
        /// What was expected there.
        let expected: String
    }

    /// The leaves in the document's order.
    private(set) var leaves: [Leaf] = []

    private let bytes: [UInt8]
    private var position = 0
    private var line = 1
    private static let deepest = 128

    /// Reads a document, whose outermost value has to be an object.
    init(_ text: String) throws(Problem) {
        bytes = Array(text.utf8)
        skipSpace()
        guard next == UInt8(ascii: "{") else { throw problem("'{', as settings are an object") }
        try object([])
        skipSpace()
        guard next == nil else { throw problem("nothing more after the object") }
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private func problem(_ expected: String) -> Problem { Problem(line: line, expected: expected) }

    private mutating func skipSpace() {
        while let byte = next, [0x20, 0x09, 0x0A, 0x0D].contains(byte) {
            if byte == 0x0A { line += 1 }
            position += 1
        }
    }

    private mutating func take(_ character: Character) -> Bool {
        skipSpace()
        guard next == character.asciiValue else { return false }
        position += 1
        return true
    }

    private mutating func object(_ path: [String]) throws(Problem) {
        guard path.count < Self.deepest else { throw problem("fewer levels than \(Self.deepest)") }
        _ = take("{")
        if take("}") { return }
        repeat {
            skipSpace()
            let start = line
            let key = try string("a key in double quotes")
            guard take(":") else { throw problem("':' after the key '\(key)'") }
            skipSpace()
            if next == UInt8(ascii: "{") {
                try object(path + [key])
            } else {
                leaves.append(Leaf(path: (path + [key]).joined(separator: "."), line: start))
                try value(depth: path.count + 1)
            }
        } while take(",")
        guard take("}") else { throw problem("',' or '}'") }
    }

    private mutating func value(depth: Int) throws(Problem) {
        skipSpace()
        guard depth < Self.deepest else { throw problem("fewer levels than \(Self.deepest)") }
        switch next {
        case UInt8(ascii: "\""):
            _ = try string("a text")
        case UInt8(ascii: "["):
            position += 1
            if take("]") { return }
            repeat { try value(depth: depth + 1) } while take(",")
            guard take("]") else { throw problem("',' or ']'") }
        case UInt8(ascii: "{"):
            // In an array: its keys are nobody's settings.
            let outer = leaves
            try object(Array(repeating: "", count: depth))
            leaves = outer
        default:
            try word()
        }
    }

    private mutating func word() throws(Problem) {
        let start = position
        while let byte = next, byte > 0x20, ![UInt8(ascii: ","), 0x5D, 0x7D].contains(byte) { position += 1 }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        let isNumber =
            Double(text) != nil && text.utf8.allSatisfy { (0x30...0x39).contains($0) || "+-.eE".utf8.contains($0) }
        guard ["true", "false", "null"].contains(text) || isNumber else { throw problem("a value") }
    }

    private mutating func string(_ expected: String) throws(Problem) -> String {
        guard next == UInt8(ascii: "\"") else { throw problem(expected) }
        position += 1
        let start = position
        while let byte = next, byte != UInt8(ascii: "\"") {
            guard byte != 0x0A else { break }
            position += byte == UInt8(ascii: "\\") ? 2 : 1
        }
        guard next == UInt8(ascii: "\"") else { throw problem("a '\"' at the text's end") }
        defer { position += 1 }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }
}
