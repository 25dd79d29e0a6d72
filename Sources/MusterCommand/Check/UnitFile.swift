// SPDX-License-Identifier: Apache-2.0

/// A systemd unit file, read as systemd.syntax(7) has it.
struct UnitFile: Hashable, Sendable {
    /// One setting in a section.
    struct Assignment: Hashable, Sendable {
        let section: String
        let key: String
        let value: String
        /// The line that it begins in, from 1 on.
        let line: Int
    }

    /// A line that systemd ignores, with a complaint in its log.
    struct Problem: Hashable, Sendable {
        let line: Int
        let reason: String
    }

    /// The file's path as it was given.
    let path: String
    private(set) var assignments: [Assignment] = []
    private(set) var sections: [(name: String, line: Int)] = []
    private(set) var problems: [Problem] = []

    static func == (one: UnitFile, other: UnitFile) -> Bool {
        one.path == other.path && one.assignments == other.assignments && one.problems == other.problems
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(path)
        hasher.combine(assignments)
    }

    /// Reads a unit file. Nothing in it is an error: systemd goes on past what it does not understand.
    ///
    /// - Parameters:
    ///   - path: Its path; the last part is the unit's name.
    ///   - text: What is in it.
    init(path: String, text: String) {
        self.path = path
        var section: String?
        for (line, text) in Self.logicalLines(text) {
            if text.hasPrefix("[") {
                guard text.hasSuffix("]"), text.count > 2 else {
                    problems.append(Problem(line: line, reason: "'\(text)' is no section; it is written [Service]"))
                    continue
                }
                let name = String(text.dropFirst().dropLast())
                section = name
                sections.append((name, line))
                continue
            }
            guard let equals = text.firstIndex(of: "="), equals > text.startIndex else {
                problems.append(Problem(line: line, reason: "'\(text)' is no setting; one is written Name=value"))
                continue
            }
            let key = String(text[..<equals]).trimmed
            guard let section else {
                problems.append(
                    Problem(line: line, reason: "'\(key)' stands before any section; write [Service] or so above it"))
                continue
            }
            let value = String(text[text.index(after: equals)...]).trimmed
            assignments.append(Assignment(section: section, key: key, value: value, line: line))
        }
    }

    /// The lines that mean something, with those that end with a backslash joined to the next.
    private static func logicalLines(_ text: String) -> [(line: Int, text: String)] {
        var result: [(Int, String)] = []
        var pending: (line: Int, text: String)?
        for (index, raw) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let trimmed = String(raw).trimmed
            // Comments may stand between the parts of one setting.
            if trimmed.hasPrefix("#") || trimmed.hasPrefix(";") { continue }
            let continues = raw.hasSuffix("\\")
            let part = continues ? String(raw.dropLast()) : String(raw)
            let start = pending?.line ?? index + 1
            let joined = pending.map { $0.text + " " + part } ?? part
            if continues {
                pending = (start, joined)
                continue
            }
            pending = nil
            if !joined.trimmed.isEmpty { result.append((start, joined.trimmed)) }
        }
        if let pending, !pending.text.trimmed.isEmpty { result.append((pending.line, pending.text.trimmed)) }
        return result
    }

    /// The unit's name, `mailer.service`.
    var name: String { path.split(separator: "/").last.map(String.init) ?? path }

    /// The assignment that counts where one value is wanted: the last one. An empty one takes the default back.
    func last(_ section: String, _ key: String) -> Assignment? {
        let last = assignments.last { $0.section == section && $0.key == key }
        return last?.value.isEmpty == true ? nil : last
    }

    /// The assignments that count where they add up. An empty one takes those before it away.
    func all(_ section: String, _ key: String) -> [Assignment] {
        let all = assignments.filter { $0.section == section && $0.key == key }
        guard let reset = all.lastIndex(where: \.value.isEmpty) else { return all }
        return Array(all[(reset + 1)...])
    }

    func place(_ line: Int? = nil) -> Finding.Place { Finding.Place(path, line: line) }

    func place(_ assignment: Assignment?, orSection section: String) -> Finding.Place {
        place(assignment?.line ?? sections.first { $0.name == section }?.line)
    }
}
