// SPDX-License-Identifier: Apache-2.0

/// What a terminal is sent to show one thing after the other in place, on its alternate screen, so that what was there
/// before comes back at the end.
enum Screen {
    /// The size of a terminal.
    struct Size: Hashable, Sendable {
        var width: Int
        var height: Int
    }

    /// Turns to the alternate screen and hides the cursor.
    static let enter = "\u{1B}[?1049h\u{1B}[?25l"
    /// Shows the cursor and turns back.
    static let leave = "\u{1B}[?25h\u{1B}[?1049l"

    /// Draws over what is there, without clearing it first, which would flicker.
    static func frame(_ lines: [String], height: Int) -> String {
        var shown = lines
        if height > 1, lines.count > height {
            shown = Array(lines.prefix(height - 1)) + ["\u{2026} and \(lines.count - height + 1) more lines"]
        }
        return "\u{1B}[H" + shown.map { $0 + "\u{1B}[K" }.joined(separator: "\r\n") + "\u{1B}[J"
    }
}
