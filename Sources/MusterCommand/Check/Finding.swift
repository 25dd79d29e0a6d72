// SPDX-License-Identifier: Apache-2.0

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
    ///
    /// - Parameters:
    ///   - severity: How much it matters.
    ///   - place: Where it is.
    ///   - message: What is wrong, and what to do about it.
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
