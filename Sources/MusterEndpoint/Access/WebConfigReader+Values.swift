// SPDX-License-Identifier: Apache-2.0

extension WebConfigReader {
    /// An error of this file.
    func fail(_ line: Int?, _ reason: String) -> WebConfigError {
        WebConfigError(file: file, line: line, reason: reason)
    }

    /// The keys of a group, each of which may occur once.
    ///
    /// - Parameters:
    ///   - node: The group; nothing is an empty one.
    ///   - group: Its name; `nil` for the whole file.
    func keys(of node: YAMLNode, in group: String?) throws(WebConfigError) -> [YAMLEntry] {
        if node.isNull { return [] }
        guard case .mapping(let pairs) = node.content else {
            throw fail(node.line, prefix(group) + "has to be a group of keys, not \(node.kind)")
        }
        var entries: [YAMLEntry] = []
        for (key, value) in pairs {
            guard case .scalar(let name, _) = key.content else {
                throw fail(key.line, prefix(group) + "a key is \(key.kind); it has to be a word")
            }
            if let first = entries.first(where: { $0.name == name }) {
                throw fail(
                    key.line, prefix(group) + "'\(name)' is there twice, in line \(first.line) for the first time")
            }
            entries.append(YAMLEntry(name: name, line: key.line, value: value))
        }
        return entries
    }

    /// An error about a key that means nothing.
    func unknown(_ entry: YAMLEntry, in group: String?, known: String) -> WebConfigError {
        fail(entry.line, prefix(group) + "there is no key '\(entry.name)'; the keys are \(known)")
    }

    private func prefix(_ group: String?) -> String {
        group.map { $0 + ": " } ?? ""
    }

    /// A value that is text; nothing is the empty one.
    func text(_ entry: YAMLEntry, in group: String) throws(WebConfigError) -> String {
        if entry.value.isNull { return "" }
        guard case .scalar(let text, _) = entry.value.content else {
            throw fail(entry.value.line, "\(group): \(entry.name) has to be text, not \(entry.value.kind)")
        }
        return text
    }

    /// A value that is true or false, in the words that YAML 1.1 has for it.
    func boolean(_ entry: YAMLEntry, in group: String) throws(WebConfigError) -> Bool {
        if entry.value.isNull { return false }
        if case .scalar(let text, isPlain: true) = entry.value.content {
            switch text.lowercased() {
            case "true", "yes", "on", "y": return true
            case "false", "no", "off", "n": return false
            default: break
            }
        }
        throw fail(entry.value.line, "\(group): \(entry.name) has to be true or false, without quotes")
    }

    /// A list of texts, each with its line.
    func list(_ entry: YAMLEntry, in group: String) throws(WebConfigError) -> [(text: String, line: Int)] {
        if entry.value.isNull { return [] }
        guard case .sequence(let nodes) = entry.value.content else {
            throw fail(entry.value.line, "\(group): \(entry.name) has to be a list, not \(entry.value.kind)")
        }
        var texts: [(text: String, line: Int)] = []
        for node in nodes {
            guard case .scalar(let text, _) = node.content else {
                throw fail(node.line, "\(group): \(entry.name) has \(node.kind) in it; it takes text only")
            }
            texts.append((text, node.line))
        }
        return texts
    }

    /// A value that is one of a few words.
    func choice<Value: CaseIterable & RawRepresentable>(
        _ text: String, line: Int, _ name: String, in group: String
    ) throws(WebConfigError) -> Value where Value.RawValue == String {
        guard let value = Value(rawValue: text) else {
            let known = Value.allCases.map(\.rawValue).joined(separator: ", ")
            throw fail(line, "\(group): \(name): '\(text)' is not known; known are \(known)")
        }
        return value
    }
}
