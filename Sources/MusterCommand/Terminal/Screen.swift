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
        // A line is cleared before it is written: at the end of one that is as long as the terminal is wide, clearing
        // would take its last character. For the same reason what is below is cleared from a line of its own.
        let below = shown.count < height || height < 1 ? "\r\n\u{1B}[J" : ""
        return "\u{1B}[H" + shown.map { "\u{1B}[K" + $0 }.joined(separator: "\r\n") + below
    }
}
