// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A line on the terminal that says what is going on, and vanishes. Nothing where there is no terminal.
struct ProgressLine {
    private let isTerminal = isatty(STDERR_FILENO) == 1

    func show(_ text: String) {
        put("\r\u{1B}[K" + text)
    }

    func clear() {
        put("\r\u{1B}[K")
    }

    private func put(_ text: String) {
        guard isTerminal else { return }
        let bytes = Array(text.utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}
