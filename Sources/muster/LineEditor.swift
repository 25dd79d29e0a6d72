// SPDX-License-Identifier: Apache-2.0

import CEdit
import Glibc

/// Reads lines from a terminal, with a history and with completions.
final class LineEditor {
    enum Input {
        case line(String)
        /// Ctrl-C: the line is discarded.
        case interrupted
        /// Ctrl-D on an empty line, or the terminal is gone.
        case end
    }

    private var editor: OpaquePointer?
    /// Returns what is to be inserted and lines to be shown.
    private let complete: (String) -> (insertion: String, shown: [String])

    /// - Parameters:
    ///   - history: The path of a file, whose folder is made if need be.
    ///   - complete: Called with what stands before the cursor.
    /// - Returns: `nil` when standard input or output is no terminal.
    init?(prompt: String, history: String?, complete: @escaping (String) -> (insertion: String, shown: [String])) {
        self.complete = complete
        if let history { Self.makeFolder(of: history) }
        editor = cedit_open(
            "muster", prompt, history,
            { context, line, hasWritten in
                guard let context, let line, let hasWritten else { return nil }
                let editor = Unmanaged<LineEditor>.fromOpaque(context).takeUnretainedValue()
                let (insertion, shown) = editor.complete(String(cString: line))
                if !shown.isEmpty {
                    Terminal.write("\n" + shown.joined(separator: "\n") + "\n")
                    hasWritten.pointee = true
                }
                return insertion.isEmpty ? nil : strdup(insertion)
            }, Unmanaged.passUnretained(self).toOpaque())
        if editor == nil { return nil }
    }

    deinit {
        if let editor { cedit_close(editor) }
    }

    func read() -> Input {
        var line: UnsafePointer<CChar>?
        switch cedit_read(editor, &line) {
        case CEDIT_LINE: return .line(line.map { String(cString: $0) } ?? "")
        case CEDIT_INTERRUPTED: return .interrupted
        default: return .end
        }
    }

    private static func makeFolder(of path: String) {
        var folder = ""
        for part in path.split(separator: "/").dropLast() {
            folder += "/\(part)"
            mkdir(folder, 0o700)
        }
    }
}
