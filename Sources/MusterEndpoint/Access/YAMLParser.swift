// SPDX-License-Identifier: Apache-2.0

import CYaml

/// Reads a YAML document with libyaml.
///
/// Aliases, tags and several documents in one file are refused: a web config file needs none, and what does not occur
/// cannot surprise.
struct YAMLParser {
    /// How deep a document may be nested.
    static let deepest = 16
    /// How many bytes a document may have.
    static let longest = 1 << 20

    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let file: String
    /// libyaml takes the end of the text for one line more.
    private let lastLine: Int

    /// Reads a document.
    ///
    /// - Returns: The root; `nil` for a file without content.
    static func parse(_ bytes: [UInt8], file: String) throws(WebConfigError) -> YAMLNode? {
        guard bytes.count <= longest else {
            throw WebConfigError(file: file, line: nil, reason: "is longer than \(longest) bytes")
        }
        let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
        defer { parser.deallocate() }
        guard yaml_parser_initialize(parser) != 0 else {
            throw WebConfigError(file: file, line: nil, reason: "cannot be read: out of memory")
        }
        defer { yaml_parser_delete(parser) }
        return try bytes.withUnsafeBufferPointer { text throws(WebConfigError) in
            yaml_parser_set_input_string(parser, text.baseAddress, text.count)
            var lines = text.count { $0 == UInt8(ascii: "\n") }
            if text.last != UInt8(ascii: "\n") { lines += 1 }
            return try YAMLParser(parser: parser, file: file, lastLine: max(1, lines)).document()
        }
    }

    private func document() throws(WebConfigError) -> YAMLNode? {
        var root: YAMLNode?
        var documents = 0
        while true {
            var event = try next()
            defer { yaml_event_delete(&event) }
            let line = Int(event.start_mark.line) + 1
            switch event.type {
            case YAML_STREAM_END_EVENT:
                return root
            case YAML_STREAM_START_EVENT, YAML_DOCUMENT_END_EVENT:
                continue
            case YAML_DOCUMENT_START_EVENT:
                documents += 1
                guard documents == 1 else { throw fail(line, "a second document begins here; only one is allowed") }
            default:
                root = try node(event, depth: 0)
            }
        }
    }

    private func node(_ event: yaml_event_t, depth: Int) throws(WebConfigError) -> YAMLNode {
        let line = Int(event.start_mark.line) + 1
        guard depth < Self.deepest else { throw fail(line, "is nested deeper than \(Self.deepest) levels") }
        switch event.type {
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            guard scalar.tag == nil else { throw fail(line, "tags (a word with !) are not supported") }
            let bytes = UnsafeBufferPointer(start: scalar.value, count: scalar.length)
            let isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
            return YAMLNode(content: .scalar(String(decoding: bytes, as: UTF8.self), isPlain: isPlain), line: line)
        case YAML_SEQUENCE_START_EVENT:
            var items: [YAMLNode] = []
            while let item = try child(endedBy: YAML_SEQUENCE_END_EVENT, depth: depth) { items.append(item) }
            return YAMLNode(content: .sequence(items), line: line)
        case YAML_MAPPING_START_EVENT:
            var pairs: [(key: YAMLNode, value: YAMLNode)] = []
            while let key = try child(endedBy: YAML_MAPPING_END_EVENT, depth: depth) {
                guard let value = try child(endedBy: YAML_MAPPING_END_EVENT, depth: depth) else { break }
                pairs.append((key, value))
            }
            return YAMLNode(content: .mapping(pairs), line: line)
        default:
            throw fail(line, "aliases (a word with *) are not supported")
        }
    }

    private func child(endedBy end: yaml_event_type_t, depth: Int) throws(WebConfigError) -> YAMLNode? {
        var event = try next()
        defer { yaml_event_delete(&event) }
        return event.type == end ? nil : try node(event, depth: depth + 1)
    }

    private func next() throws(WebConfigError) -> yaml_event_t {
        var event = yaml_event_t()
        guard yaml_parser_parse(parser, &event) == 0 else { return event }
        let problem = parser.pointee.problem.map { String(cString: $0) } ?? "it cannot be read"
        if parser.pointee.error == YAML_READER_ERROR {
            throw fail(nil, "invalid UTF-8 at byte \(parser.pointee.problem_offset): \(problem)")
        }
        let context = parser.pointee.context.map { " (\(String(cString: $0)))" } ?? ""
        let line = min(Int(parser.pointee.problem_mark.line) + 1, lastLine)
        throw fail(line, "invalid YAML: \(problem)\(context)")
    }

    private func fail(_ line: Int?, _ reason: String) -> WebConfigError {
        WebConfigError(file: file, line: line, reason: reason)
    }
}

/// A piece of a YAML document, and where it begins.
struct YAMLNode {
    enum Content {
        /// `isPlain`: written without quotes, so that it can mean something else than text.
        case scalar(String, isPlain: Bool)
        case sequence([YAMLNode])
        case mapping([(key: YAMLNode, value: YAMLNode)])
    }

    var content: Content
    /// Counted from 1.
    var line: Int

    /// Whether nothing is written there, or one of YAML's words for it.
    var isNull: Bool {
        guard case .scalar(let text, isPlain: true) = content else { return false }
        return text.isEmpty || ["~", "null", "Null", "NULL"].contains(text)
    }

    /// What it is, in words; not what it says, which may be secret.
    var kind: String {
        switch content {
        case .scalar: "a single value"
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }
}

/// A key of a web config file and what stands there.
struct YAMLEntry {
    var name: String
    /// The key's line.
    var line: Int
    var value: YAMLNode
}
