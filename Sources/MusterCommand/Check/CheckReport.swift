// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials

/// All that a check has found, and what it has looked at.
public struct CheckReport: Hashable, Sendable {
    /// What was found, in the order of the places looked at.
    public private(set) var findings: [Finding] = []
    /// What was looked at, for the summary: `settings`, a file's name.
    public private(set) var subjects: [String] = []

    /// Creates an empty report.
    public init() {}

    /// Adds what was found about something.
    ///
    /// - Parameters:
    ///   - findings: What was found; a finding that is there already is not told twice.
    ///   - subject: What was looked at.
    public mutating func add(_ findings: [Finding], about subject: String) {
        if !subjects.contains(subject) { subjects.append(subject) }
        for finding in findings where !self.findings.contains(finding) { self.findings.append(finding) }
    }

    /// How many findings there are of a severity.
    ///
    /// - Parameter severity: The severity.
    public func count(_ severity: Finding.Severity) -> Int { findings.count { $0.severity == severity } }

    /// The exit code: ``CommandExit/failure`` with an error, ``CommandExit/unwell`` with a warning if those count.
    ///
    /// - Parameter isStrict: Whether warnings count.
    public func exit(isStrict: Bool) -> CommandExit {
        if count(.error) > 0 { return .failure }
        return isStrict && count(.warning) > 0 ? .unwell : .success
    }

    /// The findings, a line each, for standard output.
    ///
    /// - Parameters:
    ///   - style: How words are set off.
    ///   - isQuiet: Whether notes are left out.
    public func lines(style: Style, isQuiet: Bool = false) -> [String] {
        findings.filter { $0.severity > .note || !isQuiet }.map { finding in
            let text = finding.description
            let word = finding.severity.rawValue
            return style.mark(word, as: finding.severity.emphasis) + text.dropFirst(word.count)
        }
    }

    /// The last line: what was looked at, and how many findings there are.
    public var summary: String {
        let counts = Finding.Severity.allCases.compactMap { severity -> String? in
            let count = count(severity)
            return count == 0 ? nil : "\(count) \(severity.rawValue)\(count == 1 ? "" : "s")"
        }
        let subjects = subjects.joined(separator: ", ").onOneLine
        return "checked \(subjects): \(counts.isEmpty ? "nothing to object to" : counts.joined(separator: ", "))"
    }

    /// The report for programs.
    ///
    /// - Parameter isStrict: Whether warnings count.
    public func json(isStrict: Bool) -> String {
        let document = Document(
            schemaVersion: 1, checked: subjects,
            findings: findings.map {
                Document.Entry(
                    severity: $0.severity.rawValue, source: $0.place.source, line: $0.place.line, message: $0.message)
            },
            errors: count(.error), warnings: count(.warning), notes: count(.note),
            exitCode: exit(isStrict: isStrict).rawValue)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        // A document of texts and numbers can always be written.
        return (try? encoder.encode(document)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    private struct Document: Encodable {
        struct Entry: Encodable {
            let severity: String
            let source: String
            let line: Int?
            let message: String
        }

        let schemaVersion: Int
        let checked: [String]
        let findings: [Entry]
        let errors: Int
        let warnings: Int
        let notes: Int
        let exitCode: Int32
    }
}

extension Finding.Severity {
    var emphasis: Style.Emphasis {
        switch self {
        case .error: .bad
        case .warning: .doubtful
        case .note: .quiet
        }
    }
}
