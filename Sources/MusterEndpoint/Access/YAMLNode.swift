// SPDX-License-Identifier: Apache-2.0

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
        case .mapping: "a group of keys"
        }
    }
}
