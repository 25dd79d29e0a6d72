// SPDX-License-Identifier: Apache-2.0

package import Logging
import MusterLock
import Synchronization

/// The log levels that an operator has chosen at run time, by labels. They hold at once in all loggers whose handlers ask
/// here: the runtime's, and the application's with `MusterLogHandler`.
///
/// A rule is for a label and for the labels below it, at a dot; `*` is for all. Of several rules the longest one counts.
package final class LogLevels: Sendable {
    /// Those of the process.
    package static let shared = LogLevels()

    /// What one label's loggers do.
    package struct Entry: Hashable, Sendable {
        package let label: String
        /// The level that counts.
        package let level: Logger.Level
        /// The one of the application: of the label's latest logger, as it was made.
        package let usual: Logger.Level
    }

    /// Why a level cannot be set.
    package enum Refusal: Error, Hashable, Sendable, CustomStringConvertible {
        case badLabel(String)
        case tooMany(limit: Int)

        package var description: String {
            switch self {
            case .badLabel(let label):
                "'\(label.prefix(LogLevels.longestLabel))' is not a label: use 1 to \(LogLevels.longestLabel) bytes, without "
                    + "control characters"
            case .tooMany(let limit): "\(limit) labels have a level already: reset one of them"
            }
        }
    }

    /// The label of the rule for all.
    package static let all = "*"
    package static let mostRules = 32
    package static let longestLabel = 128

    private struct State {
        var rules: [String: Logger.Level] = [:]
        /// Dropped when the last handler is: labels may be made at run time.
        var cells: [String: WeakCell] = [:]
        var nextSweep = 64
        var observer: (@Sendable () -> Void)?
    }

    private struct WeakCell {
        weak var cell: LabelLevel?
    }

    private let state = Locked(State())

    package init() {}

    // MARK: Rules

    /// The rules, by their labels.
    package var rules: [(label: String, level: Logger.Level)] {
        state.withLock { $0.rules }.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// The labels that have loggers, in order.
    package var entries: [Entry] {
        let cells = state.withLock { $0.cells.values.compactMap(\.cell) }
        return cells.map { Entry(label: $0.label, level: $0.chosen ?? $0.usual, usual: $0.usual) }
            .sorted { $0.label < $1.label }
    }

    /// Sets the level of a label's loggers, and of those below it.
    package func set(_ level: Logger.Level, for label: String) throws(Refusal) {
        guard Self.isLabel(label) else { throw .badLabel(label) }
        let isSet = state.withLock { state in
            guard state.rules[label] != nil || state.rules.count < Self.mostRules else { return false }
            state.rules[label] = level
            Self.apply(state)
            return true
        }
        guard isSet else { throw .tooMany(limit: Self.mostRules) }
        announce()
    }

    /// Gives a label's loggers the level of the application back; all of them when `nil`.
    ///
    /// - Returns: Whether there was a rule.
    @discardableResult
    package func reset(_ label: String? = nil) -> Bool {
        let had = state.withLock { state in
            let before = state.rules.count
            if let label { state.rules[label] = nil } else { state.rules = [:] }
            Self.apply(state)
            return state.rules.count < before
        }
        if had { announce() }
        return had
    }

    /// Calls a closure after each change, also at once if there are rules: a supervisor tells its workers.
    package func whenChanged(_ observer: @escaping @Sendable () -> Void) {
        let hasRules = state.withLock { state in
            state.observer = observer
            return !state.rules.isEmpty
        }
        if hasRules { observer() }
    }

    private func announce() {
        state.withLock { $0.observer }?()
    }

    private static func isLabel(_ label: String) -> Bool {
        (1...longestLabel).contains(label.utf8.count)
            && !label.unicodeScalars.contains { $0.value < 32 || $0.value == 127 }
    }

    private static func apply(_ state: State) {
        for entry in state.cells.values {
            if let cell = entry.cell { cell.chosen = level(of: cell.label, state.rules) }
        }
    }

    private static func level(of label: String, _ rules: [String: Logger.Level]) -> Logger.Level? {
        guard !rules.isEmpty else { return nil }
        var rest = label[...]
        while true {
            if let level = rules[String(rest)] { return level }
            guard let dot = rest.lastIndex(of: ".") else { return rules[all] }
            rest = rest[..<dot]
        }
    }

    // MARK: Text

    /// The rules, for another process: lines of a label, `=` and a level.
    package var encoded: String {
        rules.map { "\($0.label)=\($0.level.rawValue)" }.joined(separator: "\n")
    }

    /// Takes another process' rules in place of the present ones; what is no rule is left out.
    package func take(_ encoded: String) {
        var rules: [String: Logger.Level] = [:]
        for line in encoded.split(separator: "\n").prefix(Self.mostRules) {
            guard let equals = line.lastIndex(of: "="),
                let level = Logger.Level(rawValue: String(line[line.index(after: equals)...])),
                case let label = String(line[..<equals]), Self.isLabel(label)
            else { continue }
            rules[label] = level
        }
        state.withLock { state in
            state.rules = rules
            Self.apply(state)
        }
        announce()
    }

    // MARK: Handlers

    /// The level of a label, for a handler of the level `usual`.
    package func cell(of label: String, usual: Logger.Level) -> LabelLevel {
        state.withLock { state in
            if let cell = state.cells[label]?.cell {
                cell.usual = usual
                return cell
            }
            let cell = LabelLevel(label, usual: usual)
            cell.chosen = Self.level(of: label, state.rules)
            state.cells[label] = WeakCell(cell: cell)
            if state.cells.count > state.nextSweep {
                state.cells = state.cells.filter { $0.value.cell != nil }
                state.nextSweep = 2 * max(64, state.cells.count)
            }
            return cell
        }
    }
}

/// The level that an operator has chosen for a label, if any: one load for each log message.
package final class LabelLevel: Sendable {
    fileprivate let label: String
    /// 0: none; the levels from 1.
    private let number: Atomic<UInt8>
    private let usualNumber: Atomic<UInt8>

    fileprivate init(_ label: String, usual: Logger.Level) {
        self.label = label
        number = Atomic(0)
        usualNumber = Atomic(Self.number(of: usual))
    }

    package fileprivate(set) var chosen: Logger.Level? {
        get { Self.level(of: number.load(ordering: .relaxed)) }
        set { number.store(newValue.map(Self.number) ?? 0, ordering: .relaxed) }
    }

    fileprivate var usual: Logger.Level {
        get { Self.level(of: usualNumber.load(ordering: .relaxed)) ?? .info }
        set { usualNumber.store(Self.number(of: newValue), ordering: .relaxed) }
    }

    @inline(__always)
    private static func level(of number: UInt8) -> Logger.Level? {
        switch number {
        case 1: .trace
        case 2: .debug
        case 3: .info
        case 4: .notice
        case 5: .warning
        case 6: .error
        case 7: .critical
        default: nil
        }
    }

    private static func number(of level: Logger.Level) -> UInt8 {
        switch level {
        case .trace: 1
        case .debug: 2
        case .info: 3
        case .notice: 4
        case .warning: 5
        case .error: 6
        case .critical: 7
        }
    }
}

/// What each log line of a worker says of the process, whatever handler writes it.
package enum LogIdentity {
    private static let metadata = Locked<Logger.Metadata>([:])

    package static func set(worker: String, group: String) {
        metadata.withLock { $0 = ["worker": "\(worker)", "worker_group": "\(group)"] }
    }

    /// Adds it to a message, unless it, or the logger, has something else to say by these names.
    package static func add(to event: inout LogEvent, of handler: any LogHandler) {
        let identity = metadata.withLock { $0 }
        guard !identity.isEmpty else { return }
        guard var own = event.metadata, !own.isEmpty else {
            event.metadata = identity.filter { handler[metadataKey: $0.key] == nil }
            return
        }
        for (key, value) in identity where own[key] == nil && handler[metadataKey: key] == nil { own[key] = value }
        event.metadata = own
    }
}

extension LogHandler {
    /// Writes a message with what the process adds to it, also one that only an operator wants to see.
    package func write(_ event: LogEvent, level: LabelLevel) {
        var event = event
        LogIdentity.add(to: &event, of: self)
        guard let chosen = level.chosen, chosen < logLevel else { return log(event: event) }
        // One that looks at its level itself would leave it out.
        var handler = self
        handler.logLevel = chosen
        handler.log(event: event)
    }
}
