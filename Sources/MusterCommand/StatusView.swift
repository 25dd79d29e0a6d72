// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
package import MusterHealth
import MusterPlatform

/// A status as lines for a terminal.
public struct StatusView: Sendable {
    private let report: StatusReport
    private let width: Int
    private let style: Style

    package init(_ report: StatusReport, width: Int, style: Style) {
        self.report = report
        self.width = width
        self.style = style
    }

    /// The lines; none is longer than the terminal is wide.
    public var lines: [String] {
        heading
            + section("Workers", note: workerNote, workers, omitted: report.omitted.workers, of: "worker")
            + section("Looping calls", note: nil, loops, omitted: report.omitted.loops, of: "looping call")
            + section("Health checks", note: nil, checks, omitted: 0, of: "check")
    }

    // MARK: The heading

    private var heading: [String] {
        let up = report.process.uptimeSeconds.map { ", up \(Readable.duration($0))" } ?? ""
        let versions = [
            report.version.muster.map { "Muster \($0)" }, report.version.swift.map { "Swift \($0)" },
        ].compactMap(\.self).joined(separator: ", ")
        let health = report.health
        var lines = [
            assemble([
                Part(report.name, .strong), Part(report.state.rawValue, report.state.emphasis),
                Part("\(who), pid \(report.process.pid)\(up)"), Part(versions, .quiet),
            ]),
            assemble(
                [
                    Part("live: \(health.live.rawValue)", health.live.emphasis),
                    Part("ready: \(health.ready.rawValue)", health.ready.emphasis),
                    Part("startup: \(health.startup.rawValue)", health.startup.emphasis),
                ] + (report.isReloading ? [Part("a reload is under way", .doubtful)] : [])),
        ]
        if !backends.isEmpty { lines.append(assemble([Part("backend: " + backends)])) }
        return lines
    }

    private var who: String {
        switch report.mode {
        case .supervisor: "supervisor"
        case .process: "one process"
        case .endpoint: "endpoint only"
        }
    }

    private var backends: String {
        report.backends.map { backend in
            let why =
                switch backend.source {
                case "hook": "chosen by the application's hook"
                case "explicit": "chosen by the application"
                case "default": "the default"
                default: backend.source
                }
            let where_ = report.mode == .supervisor ? " in \(PlainText.count(backend.workers, "worker"))" : ""
            return "\(backend.name)\(where_) (\(why))"
        }.joined(separator: ", ")
    }

    private struct Part {
        let text: String
        let emphasis: Style.Emphasis?

        init(_ text: String, _ emphasis: Style.Emphasis? = nil) {
            self.text = text.onOneLine
            self.emphasis = emphasis
        }
    }

    /// Parts beside each other, as many as there is room for; the first is cut if it has to be.
    private func assemble(_ parts: [Part]) -> String {
        var line = ""
        var room = width
        for part in parts where !part.text.isEmpty && room > 0 {
            let gap = line.isEmpty ? "" : "  "
            let needed = TextWidth.of(part.text) + gap.count
            if needed > room, !line.isEmpty { continue }
            let text = TextWidth.cut(part.text, to: room - gap.count)
            line += gap + style.mark(text, as: part.emphasis)
            room -= TextWidth.of(text) + gap.count
        }
        return line
    }

    private func section(
        _ title: String, note: String?, _ table: TextTable, omitted: Int, of noun: String
    ) -> [String] {
        guard !table.columns.isEmpty else { return [] }
        var lines = ["", assemble([Part(title, .strong), Part(note ?? "")])] + table.lines(width: width, style: style)
        if omitted > 0 {
            lines.append(assemble([Part("and \(PlainText.count(omitted, noun)) more", .quiet)]))
        }
        return lines
    }

    // MARK: Workers

    private var workerNote: String {
        report.groups.map { group in
            let prefix = report.groups.count > 1 ? "\(group.name): " : ""
            var text = "\(prefix)\(group.readyWorkers) of \(group.wantedWorkers) ready"
            if group.readySpares > 0 { text += ", \(PlainText.count(group.readySpares, "warm spare"))" }
            if group.restarts > 0 { text += ", \(PlainText.count(group.restarts, "restart"))" }
            return group.restartsTooOften ? text + " (too many)" : text
        }.joined(separator: "; ")
    }

    private var workers: TextTable {
        let all = report.workers
        var table = TextTable(rows: all.count)
        func add(
            _ title: String, importance: Int, isNumeric: Bool = true, minimum: Int? = nil,
            _ cell: (WorkerStatus) -> TextTable.Cell
        ) {
            table.add(
                .init(title, isNumeric: isNumeric, importance: importance, minimum: minimum), all.map(cell))
        }
        if Set(all.map(\.group)).count > 1 {
            add("GROUP", importance: 90, isNumeric: false, minimum: 8) { .init($0.group) }
        }
        add("SLOT", importance: .max) { .init("\($0.slot)") }
        add("PID", importance: 80) { .init(Readable.count($0.process?.pid)) }
        add("STATE", importance: .max, isNumeric: false) { worker in
            let wait = worker.state == .backoff ? worker.backoffSeconds.map { " \(Readable.duration($0))" } : nil
            return .init(worker.state.rawValue + (wait ?? ""), worker.state.emphasis)
        }
        if Set(all.map(\.backend)).count > 1 || report.backends.count > 1 {
            add("BACKEND", importance: 68, isNumeric: false) { .init($0.backend ?? Readable.unknown) }
        } else {
            add("BACKEND", importance: 30, isNumeric: false) { .init($0.backend ?? Readable.unknown) }
        }
        add("UP", importance: 70) { .init(Readable.duration($0.process?.uptimeSeconds)) }
        add("RESTARTS", importance: 75) { .init("\($0.restartCount)", $0.restartCount > 0 ? .doubtful : nil) }
        add("REASON", importance: 62, isNumeric: false, minimum: 6) { .init($0.lastRestartReason ?? "") }
        add("AGO", importance: 25) { worker in
            .init(worker.lastRestartAt.map { Readable.duration(max(0, report.at - $0)) } ?? "")
        }
        add("THREADS", importance: 50) { .init(Readable.count($0.process?.threads)) }
        add("JOBS", importance: 20) { .init(Readable.count($0.jobs)) }
        add("CPU", importance: 66) { .init(Readable.percent($0.cpuCores)) }
        add("MEMORY", importance: 65) { .init(Readable.bytes($0.process?.residentMemoryBytes)) }
        add("HEARTBEAT", importance: 55) { worker in
            let age = worker.heartbeatAgeSeconds
            return .init(age.map { $0 == 0 ? "now" : Readable.duration($0) + " ago" } ?? Readable.unknown)
        }
        if all.contains(where: { !$0.isReadable }) {
            add("METRICS", importance: 72, isNumeric: false) { $0.isReadable ? "ok" : .init("damaged", .bad) }
        }
        return table
    }

    // MARK: Loops

    private var loops: TextTable {
        let all = report.loops
        var table = TextTable(rows: all.count)
        func add(
            _ title: String, importance: Int, isNumeric: Bool = true, minimum: Int? = nil,
            _ cell: (LoopStatus) -> TextTable.Cell
        ) {
            table.add(.init(title, isNumeric: isNumeric, importance: importance, minimum: minimum), all.map(cell))
        }
        func bad(_ count: UInt64) -> TextTable.Cell { .init("\(count)", count > 0 ? .doubtful : nil) }
        if Set(all.map(\.group)).count > 1 {
            add("GROUP", importance: 85, isNumeric: false, minimum: 8) { .init($0.group) }
        }
        add("LOOP", importance: .max, isNumeric: false, minimum: 8) { .init($0.name) }
        if Set(all.map(\.backend)).count > 1 {
            add("BACKEND", importance: 80, isNumeric: false) { .init($0.backend) }
        }
        add("EVERY", importance: 75) { .init(Readable.duration($0.intervalSeconds)) }
        if all.contains(where: { $0.schedule != nil }) {
            add("SCHEDULE", importance: 74, isNumeric: false, minimum: 16) { .init($0.schedule ?? "") }
            add("MEAN", importance: 50) { .init(Readable.duration($0.meanRunSeconds)) }
        }
        add("RUNS", importance: 40) { .init(Readable.count($0.runs)) }
        add("LATE P50", importance: 55) { .init(Readable.duration($0.latenessP50Seconds)) }
        add("LATE P99", importance: 78) { .init(Readable.duration($0.latenessP99Seconds)) }
        add("DRIFT", importance: 60) { .init(Readable.duration($0.driftSeconds)) }
        add("LAST", importance: 65) { .init(Readable.ago($0.lastRunAt, from: report.at)) }
        add("NEXT", importance: 70) { .init(Readable.ahead($0.nextRunAt, from: report.at)) }
        add("FAILED", importance: 77) { bad($0.failures) }
        add("OVERRUN", importance: 35) { bad($0.overruns) }
        add("SKIPPED", importance: 30) { bad($0.skipped) }
        return table
    }

    // MARK: Checks

    private var checks: TextTable {
        let all = report.health.checks
        var table = TextTable(rows: all.count)
        table.add(
            .init("CHECK", importance: .max, minimum: 8), all.map { .init($0.name) })
        table.add(
            .init("STATE", importance: .max), all.map { .init($0.state.rawValue, $0.state.emphasis) })
        table.add(
            .init("LEVELS", importance: 30), all.map { .init($0.levels.joined(separator: ", ")) })
        table.add(
            .init("FOUND", isNumeric: true, importance: 20),
            all.map { .init(Readable.ago($0.foundAt, from: report.at)) })
        table.add(
            .init("REASON", importance: 50, minimum: 16), all.map { .init($0.reason ?? "") })
        return table
    }
}

/// What has changed between two looks, in words.
enum StatusChanges {
    static func between(_ before: StatusReport, _ after: StatusReport) -> [String] {
        if before.process.pid != after.process.pid {
            return ["\(after.name) was started anew: pid \(before.process.pid) is now \(after.process.pid)"]
        }
        var changes: [String] = []
        if before.state != after.state {
            changes.append("\(after.name): \(before.state.rawValue), now \(after.state.rawValue)")
        }
        if before.isReloading != after.isReloading {
            changes.append(after.isReloading ? "a reload has begun" : "the reload has ended")
        }
        return changes + workers(before, after) + checks(before, after)
    }

    private struct Slot: Hashable {
        let group: String
        let number: Int
    }

    private static func workers(_ before: StatusReport, _ after: StatusReport) -> [String] {
        let former = Dictionary(before.workers.map { (Slot(group: $0.group, number: $0.slot), $0) }) { first, _ in first
        }
        var changes: [String] = []
        for worker in after.workers {
            let name = "\(worker.group)/\(worker.slot)"
            guard let old = former[Slot(group: worker.group, number: worker.slot)] else {
                changes.append("worker \(name) is new")
                continue
            }
            let restarts = worker.restartCount - old.restartCount
            if restarts > 0 {
                let pids = [old.process?.pid, worker.process?.pid].map { $0.map { "\($0)" } ?? "none" }
                let often = restarts > 1 ? " \(restarts) times, last" : ""
                let reason = worker.lastRestartReason ?? "?"
                changes.append(
                    "worker \(name) was replaced\(often) (\(reason)): pid \(pids[0]) is now \(pids[1])")
            } else if old.state != worker.state {
                changes.append("worker \(name): \(old.state.rawValue), now \(worker.state.rawValue)")
            }
        }
        let current = Set(after.workers.map { Slot(group: $0.group, number: $0.slot) })
        for worker in before.workers where !current.contains(Slot(group: worker.group, number: worker.slot)) {
            changes.append("worker \(worker.group)/\(worker.slot) is gone")
        }
        return changes
    }

    private static func checks(_ before: StatusReport, _ after: StatusReport) -> [String] {
        let former = Dictionary(before.health.checks.map { ($0.name, $0.state) }) { first, _ in first }
        return after.health.checks.compactMap { check in
            guard let old = former[check.name], old != check.state else { return nil }
            let reason = check.reason.map { ": \($0)" } ?? ""
            return "check \(check.name): \(old.rawValue), now \(check.state.rawValue)\(reason)"
        }
    }
}

extension ServiceState {
    var emphasis: Style.Emphasis {
        switch self {
        case .ready: .good
        case .failing: .bad
        case .degraded, .unready, .starting, .stopping: .doubtful
        }
    }
}

extension CheckState {
    var emphasis: Style.Emphasis? {
        switch self {
        case .pass: .good
        case .warn: .doubtful
        case .fail: .bad
        case .unknown: nil
        }
    }
}

extension WorkerState {
    var emphasis: Style.Emphasis {
        switch self {
        case .ready: .good
        case .hung: .bad
        case .starting, .stopping, .backoff: .doubtful
        case .finished: .quiet
        }
    }
}
