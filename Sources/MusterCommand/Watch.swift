// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth
import MusterPlatform

/// Asks for a status again and again, and shows each answer. It knows neither terminal nor clock nor network: all
/// that it does goes through ``Surroundings``.
public struct Watch {
    /// What has ended a wait.
    public enum Event: Hashable, Sendable {
        /// The time is over.
        case due
        /// The terminal has another size.
        case resized
        /// The user wants the program to pause (Ctrl-Z).
        case suspended
        /// The user wants it to end.
        case ended
    }

    /// What is shown.
    public enum Form: Hashable, Sendable {
        /// A table in the place of the one before.
        case screen
        /// A table below the one before.
        case pages
        /// A JSON document on a line.
        case documents
    }

    /// What a watch needs of the world.
    public struct Surroundings {
        /// Asks once.
        public var fetch: () -> Result<StatusAnswer, FetchFailure>
        /// Waits for so long at most.
        public var wait: (Duration) -> Event
        /// Stops the process until somebody continues it.
        public var suspend: () -> Void
        /// Writes to standard output.
        public var write: (String) -> Void
        /// Writes a line to standard error.
        public var complain: (String) -> Void
        /// The terminal's width and height.
        public var size: () -> (width: Int, height: Int)
        /// The time of day, `16:05:09`.
        public var time: () -> String

        /// Puts the surroundings together.
        public init(
            fetch: @escaping () -> Result<StatusAnswer, FetchFailure>, wait: @escaping (Duration) -> Event,
            suspend: @escaping () -> Void, write: @escaping (String) -> Void,
            complain: @escaping (String) -> Void, size: @escaping () -> (width: Int, height: Int),
            time: @escaping () -> String
        ) {
            self.fetch = fetch
            self.wait = wait
            self.suspend = suspend
            self.write = write
            self.complain = complain
            self.size = size
            self.time = time
        }
    }

    private static let keptChanges = 6

    private let target: StatusTarget
    private let form: Form
    private let style: Style
    private let interval: Duration
    private let world: Surroundings
    private var last: StatusAnswer?
    private var failure: FetchFailure?
    private var changes: [String] = []
    private var looks = 0

    /// Creates a watch.
    ///
    /// - Parameters:
    ///   - target: What is asked.
    ///   - form: What is shown.
    ///   - style: How words are set off.
    ///   - interval: How long to wait between an answer and the next question.
    ///   - surroundings: What it needs of the world.
    public init(_ target: StatusTarget, form: Form, style: Style, interval: Duration, in surroundings: Surroundings) {
        self.target = target
        self.form = form
        self.style = style
        self.interval = interval
        world = surroundings
    }

    /// Watches until the user ends it.
    ///
    /// - Parameter limit: After how many looks it ends by itself; `nil` for never.
    /// - Returns: The exit code of the last look.
    public mutating func run(limit: Int? = nil) -> CommandExit {
        if form == .screen { world.write(Screen.enter) }
        defer { if form == .screen { world.write(Screen.leave) } }
        while true {
            look()
            guard looks < limit ?? .max, rest() else { break }
        }
        if failure != nil { return .failure }
        return last?.exit ?? .failure
    }

    /// Asks once and shows what came.
    private mutating func look() {
        switch world.fetch() {
        case .success(let answer):
            note(answer)
            failure = nil
            last = answer
        case .failure(.interrupted):
            // Who has interrupted it is known to the wait that follows.
            return
        case .failure(let reason):
            if failure == nil, last != nil { add("no answer: \(target.shown)") }
            failure = reason
        }
        looks += 1
        show()
    }

    private mutating func note(_ answer: StatusAnswer) {
        if let last {
            if failure != nil { add("there are answers again") }
            for change in StatusChanges.between(last.report, answer.report) { add(change) }
        }
    }

    private mutating func add(_ change: String) {
        changes.append("\(world.time())  \(change)".onOneLine)
        changes.removeFirst(max(0, changes.count - Self.keptChanges))
    }

    /// Waits until the next look is due; false when there shall be none.
    private mutating func rest() -> Bool {
        while true {
            switch world.wait(interval) {
            case .due: return true
            case .ended: return false
            case .resized:
                if form == .screen { show() }
            case .suspended:
                if form == .screen { world.write(Screen.leave) }
                world.suspend()
                if form == .screen { world.write(Screen.enter) }
                return true
            }
        }
    }

    // MARK: Showing

    private mutating func show() {
        switch form {
        case .screen:
            let size = world.size()
            world.write(Screen.frame(screen(width: size.width), height: size.height))
        case .pages: page()
        case .documents:
            if let failure {
                world.complain(failure.message(for: target))
            } else if let last {
                world.write(String(decoding: JSONText.onOneLine(last.document), as: UTF8.self) + "\n")
            }
        }
    }

    private func screen(width: Int) -> [String] {
        let hint = "\(target.shown)  every \(interval.text)  \(world.time())  Ctrl-C ends it"
        var lines = [style.mark(TextWidth.cut(hint, to: width), as: .quiet), ""]
        if let failure {
            lines += TextWrap.lines("muster: " + failure.message(for: target), width: width)
                .map { style.mark($0, as: .bad) }
            lines += last == nil ? [] : ["", style.mark(TextWidth.cut("The last answer:", to: width), as: .quiet)]
        }
        if let last { lines += StatusView(last.report, width: width, style: style).lines }
        if !changes.isEmpty {
            lines += ["", style.mark("Changes", as: .strong)] + changes.map { TextWidth.cut($0, to: width) }
        }
        return lines
    }

    /// What has changed since the page before stands below the page.
    private mutating func page() {
        if let failure {
            world.complain("\(world.time())  \(failure.message(for: target))")
        } else if let last {
            let before = looks > 1 ? "\n" : ""
            let lines = [world.time()] + StatusView(last.report, width: world.size().width, style: style).lines
            let news = changes.isEmpty ? [] : ["", "Changes"] + changes
            world.write(before + (lines + news).joined(separator: "\n") + "\n")
            changes = []
        }
    }
}

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
