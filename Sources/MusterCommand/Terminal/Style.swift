// SPDX-License-Identifier: Apache-2.0

/// How words are set off on a terminal. A word never says by its colour alone what it says.
public struct Style: Hashable, Sendable {
    /// What a word is.
    public enum Emphasis: Hashable, Sendable {
        case good
        case doubtful
        case bad
        case strong
        case quiet

        var code: String {
            switch self {
            case .good: "32"
            case .doubtful: "33"
            case .bad: "1;31"
            case .strong: "1"
            case .quiet: "2"
            }
        }
    }

    /// Whether there are colours.
    public let hasColour: Bool

    /// Plain text.
    public static let plain = Style(hasColour: false)
    /// Text with colours.
    public static let coloured = Style(hasColour: true)

    /// Chooses as command lines do: colours on a terminal that has them, unless somebody does not want them.
    ///
    /// - Parameters:
    ///   - isTerminal: Whether the output is a terminal.
    ///   - isRefused: Whether the command line says no.
    ///   - environment: The environment's value of a name: `NO_COLOR` that is not empty (no-color.org) and the `TERM`
    ///     `dumb` refuse colours, too.
    public init(isTerminal: Bool, isRefused: Bool, environment: (String) -> String?) {
        let isUnwanted = environment("NO_COLOR").map { !$0.isEmpty } ?? false
        let term = environment("TERM") ?? "dumb"
        hasColour = isTerminal && !isRefused && !isUnwanted && term != "dumb" && !term.isEmpty
    }

    private init(hasColour: Bool) {
        self.hasColour = hasColour
    }

    /// A text with what sets it off.
    ///
    /// - Parameters:
    ///   - text: The text.
    ///   - emphasis: What it is; `nil` for nothing special.
    public func mark(_ text: String, as emphasis: Emphasis?) -> String {
        guard hasColour, let emphasis, !text.isEmpty else { return text }
        return "\u{1B}[\(emphasis.code)m\(text)\u{1B}[0m"
    }
}
