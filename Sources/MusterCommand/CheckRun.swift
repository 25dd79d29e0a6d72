// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Glibc
import Muster
import MusterEndpoint
import MusterHealth
import MusterPlatform

/// Checks what a service would be started with.
public struct CheckRun {
    private let settingsFile: String?
    private let webConfigFile: String?
    private let arguments: [String]
    private let environment: [String: String]
    private let isBinding: Bool

    /// Creates a check.
    ///
    /// - Parameters:
    ///   - settingsFile: A JSON file with settings; when `nil`, the one that arguments or environment name.
    ///   - webConfigFile: A web config file; when `nil`, the one that the settings name.
    ///   - arguments: The service's arguments, without the program's name.
    ///   - environment: The environment.
    ///   - isBinding: Whether to listen at the endpoint's address for a moment.
    public init(
        settingsFile: String?, webConfigFile: String?, arguments: [String], environment: [String: String],
        isBinding: Bool
    ) {
        self.settingsFile = settingsFile
        self.webConfigFile = webConfigFile
        self.arguments = arguments
        self.environment = environment
        self.isBinding = isBinding
    }

    /// Runs the check.
    public func report() -> CheckReport {
        var report = CheckReport()
        let check = SettingsCheck(arguments: arguments, environment: environment, file: settingsFile)
        report.add(check.findings + bind(check), about: "settings")
        checkWebConfig(of: check, &report)
        if let webConfigFile { report.add(WebConfigCheck.findings(file: webConfigFile), about: webConfigFile) }
        return report
    }

    private func checkWebConfig(of check: SettingsCheck, _ report: inout CheckReport) {
        guard webConfigFile == nil, let file = check.settings.endpoint?.webConfigFile else { return }
        report.add(WebConfigCheck.findings(file: file), about: file)
    }

    /// Listens for a moment.
    private func bind(_ check: SettingsCheck) -> [Finding] {
        guard isBinding, let endpoint = check.settings.endpoint else { return [] }
        let place = check.place(of: "muster.endpoint.address") ?? Finding.Place("settings")
        switch endpoint.address {
        case .systemd, .descriptor:
            return [Finding(.note, place, "\(endpoint.address) is passed in at the start; it cannot be checked")]
        case .tcp, .unix:
            do {
                let socket = try ListeningSocket(endpoint.address, setting: "'muster.endpoint.address'")
                socket.unlinkFile()
                socket.closeDescriptor()
                return []
            } catch {
                return [Finding(.error, place, "\(error)")]
            }
        }
    }
}

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
    public func count(_ severity: Finding.Severity) -> Int { findings.count { $0.severity == severity } }

    /// The exit code: ``CommandExit/failure`` with an error, ``CommandExit/unwell`` with a warning if those count.
    public func exit(isStrict: Bool) -> CommandExit {
        if count(.error) > 0 { return .failure }
        return isStrict && count(.warning) > 0 ? .unwell : .success
    }

    /// The findings, a line each, for standard output.
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
            return count == 0 ? nil : PlainText.count(count, severity.rawValue)
        }
        let subjects = subjects.joined(separator: ", ").onOneLine
        return "checked \(subjects): \(counts.isEmpty ? "no problems found" : counts.joined(separator: ", "))"
    }

    /// The report for programs.
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

/// Checks a web config file, with the certificates and keys that it names, as the endpoint would load it.
enum WebConfigCheck {
    static func findings(file: String) -> [Finding] {
        do throws(WebConfigError) {
            let config = try WebConfig.load(file: file)
            let problems = config.certificateProblems(at: Int64(WallClock.secondsSinceEpoch)).map {
                Finding(.warning, Finding.Place($0.file, line: $0.line), $0.reason)
            }
            return problems + [Finding(.note, Finding.Place(file), config.summary)]
        } catch {
            return [Finding(.error, Finding.Place(error.file, line: error.line), error.reason)]
        }
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

/// Something that `muster check` has found.
public struct Finding: Hashable, Sendable, CustomStringConvertible {
    /// How much it matters, the worst first.
    public enum Severity: String, Hashable, Sendable, CaseIterable, Comparable {
        /// The program would not start, or something would go wrong for certain.
        case error
        /// Something that is likely to be a mistake.
        case warning
        /// Something worth knowing.
        case note

        /// Whether one matters less than the other.
        public static func < (one: Severity, other: Severity) -> Bool { one.rank < other.rank }

        private var rank: Int {
            switch self {
            case .note: 0
            case .warning: 1
            case .error: 2
            }
        }
    }

    /// Where something is.
    public struct Place: Hashable, Sendable, CustomStringConvertible {
        /// The file, or `environment`, or `arguments`.
        public var source: String
        /// The line, from 1 on; `nil` where there is none.
        public var line: Int?

        /// Names a place.
        ///
        /// - Parameters:
        ///   - source: The file, or `environment`, or `arguments`.
        ///   - line: The line, from 1 on; `nil` where there is none.
        public init(_ source: String, line: Int? = nil) {
            self.source = source
            self.line = line
        }

        /// The place as compilers write it, `file:line`.
        public var description: String { line.map { "\(source):\($0)" } ?? source }
    }

    /// How much it matters.
    public let severity: Severity
    /// Where it is.
    public let place: Place
    /// What is wrong, and what to do about it.
    public let message: String

    /// Creates a finding.
    public init(_ severity: Severity, _ place: Place, _ message: String) {
        self.severity = severity
        self.place = place
        self.message = message
    }

    /// The finding as one line.
    public var description: String {
        // What is quoted from a file must not write to the terminal in its own way.
        "\(severity.rawValue): \(place): \(message)".onOneLine
    }
}

/// Why a file could not be read.
public struct ReadFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// The system's word, `No such file or directory`.
    public let reason: String

    /// Creates a failure.
    public init(_ reason: String) {
        self.reason = reason
    }

    /// The failure in words.
    public var description: String { "cannot be read: \(reason)" }
}

/// Reads files of texts, which are small.
public enum TextFile {
    /// Reads a file.
    ///
    /// - Returns: Its text; what is no UTF-8 in it becomes U+FFFD.
    public static func read(_ path: String) -> Result<String, ReadFailure> {
        do throws(SmallFile.Failure) {
            return .success(String(decoding: try SmallFile.read(path), as: UTF8.self))
        } catch {
            return .failure(ReadFailure(error.reason))
        }
    }
}

/// The exit codes of the command line, as `docs/command-line.md` lists them.
public enum CommandExit: Int32, Hashable, Sendable, CaseIterable {
    /// All is well: live and ready, or nothing found that matters.
    case success = 0
    /// The service answers and is not live or not ready; or there are warnings, and those count.
    case unwell = 1
    /// There was no answer that could be used; or there are errors.
    case failure = 2
    /// The command line itself was wrong. (`sysexits.h`: `EX_USAGE`.)
    case usage = 64
}
