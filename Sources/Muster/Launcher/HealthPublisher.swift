// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterHealth
import MusterLock
import MusterPlatform
import MusterSupervision

/// Shows a worker's health checks to its supervisor, through the vital signs: those registered, and those expected.
///
/// A check that the application reports is shown as it is reported. The others run at an interval, half of their
/// maximum age, on behalf of the probes: a worker without checks never wakes for this. After each change of the
/// registry the publisher compares the registry with what it shows, so no order of changes can leave a sign behind.
final class HealthPublisher: Sendable {
    /// How often a check runs that names no maximum age.
    private static let defaultInterval: Duration = .seconds(5)

    private struct Entry {
        /// `nil` for a check that is only expected.
        var registered: (generation: Int, check: HealthCheck)?
        /// The levels that a check of this name is expected for.
        var expected: Set<HealthLevel> = []
        var latest: HealthReporter.Report?
        var maximumAge: Duration = .zero
        /// Ends the runs or reports of the registered check.
        var cancel: (@Sendable () -> Void)?
    }

    private struct State {
        var entries: [String: Entry] = [:]
        /// The checks that did not fit in.
        var omitted: Set<String> = []
    }

    /// It keeps the publisher.
    private weak let health: HealthRegistry?
    private let vitalSigns: VitalSignsWriter?
    private let loop: EventLoop
    private let logger: Logger
    private let state = Locked(State())

    init(health: HealthRegistry, vitalSigns: VitalSignsWriter?, loop: EventLoop, logger: Logger) {
        self.health = health
        self.vitalSigns = vitalSigns
        self.loop = loop
        self.logger = logger
    }

    /// Shows what there is, and from then on what changes. On the loop's thread, or before it runs.
    func begin() {
        guard vitalSigns != nil else { return }
        health?.onChange { [self] in loop.submit { [self] in synchronize() } }
        synchronize()
    }

    private func synchronize() {
        guard let contents = health?.contents else { return }
        var cancellations: [@Sendable () -> Void] = []
        var added: [(generation: Int, check: HealthCheck)] = []
        let names = Set(contents.checks.keys).union(contents.expected.keys)
        state.withLock { state in
            for name in names.union(state.entries.keys) {
                var entry = state.entries[name] ?? Entry()
                let registered = contents.checks[name]
                let isReplaced = entry.registered?.generation != registered?.generation
                let expected = contents.expected[name] ?? []
                guard isReplaced || entry.expected != expected || state.entries[name] == nil else { continue }
                if isReplaced {
                    if let cancel = entry.cancel { cancellations.append(cancel) }
                    entry = Entry(registered: registered)
                    if let registered { added.append(registered) }
                }
                entry.expected = expected
                state.entries[name] = names.contains(name) ? entry : nil
                show(name, &state)
            }
        }
        for cancel in cancellations { cancel() }
        for (generation, check) in added { follow(check, generation) }
    }

    // MARK: One check

    private func follow(_ check: HealthCheck, _ generation: Int) {
        guard let reporter = check.reporter else {
            // Only the loop's thread schedules, and the loop may not run yet.
            if loop.isCurrent { run(check, generation) } else { loop.submit { [self] in run(check, generation) } }
            return
        }
        let observer = reporter.addObserver { [weak self] report in
            self?.record(report, maximumAge: check.maximumAge, of: check, generation)
        }
        setCancellation(of: check, generation) { reporter.removeObserver(observer) }
    }

    private func run(_ check: HealthCheck, _ generation: Int) {
        let isCurrent = state.withLock { $0.entries[check.name]?.registered?.generation == generation }
        guard isCurrent, let level = HealthLevel.allCases.first(where: check.levels.contains) else { return }
        let interval = check.maximumAge > .zero ? check.maximumAge / 2 : Self.defaultInterval
        health?.evaluate(level, only: check.name, on: loop) { [weak self] report in
            guard let result = report.entries.first?.result else { return }
            self?.record(
                HealthReporter.Report(result: result, instant: .now), maximumAge: interval * 3, of: check, generation)
        }
        let next = loop.schedule(at: .now.advanced(by: interval)) { [self] in run(check, generation) }
        setCancellation(of: check, generation) { [loop] in loop.cancel(next) }
    }

    /// Sets how to end what was begun for a check, or ends it at once when the check is gone already.
    private func setCancellation(
        of check: HealthCheck, _ generation: Int, _ cancel: @escaping @Sendable () -> Void
    ) {
        let isCurrent = state.withLock { state in
            guard state.entries[check.name]?.registered?.generation == generation else { return false }
            state.entries[check.name]?.cancel = cancel
            return true
        }
        if !isCurrent { cancel() }
    }

    private func record(
        _ report: HealthReporter.Report, maximumAge: Duration, of check: HealthCheck, _ generation: Int
    ) {
        state.withLock { state in
            guard var entry = state.entries[check.name], entry.registered?.generation == generation,
                (entry.latest?.instant ?? report.instant) <= report.instant
            else { return }
            entry.latest = report
            entry.maximumAge = maximumAge
            state.entries[check.name] = entry
            show(check.name, &state)
        }
    }

    /// Under the lock, so that no sign outlives its check.
    private func show(_ name: String, _ state: inout State) {
        var signs: [HealthSign] = []
        if let entry = state.entries[name] {
            signs = Self.expected(name, entry.expected)
            if let check = entry.registered?.check {
                if let latest = entry.latest {
                    signs.append(
                        HealthSign(
                            name: name, levels: check.levels, result: latest.result, reportedAt: latest.instant,
                            maximumAge: entry.maximumAge))
                } else {
                    // Whether it matters is for the supervisor to say: another service's worker never reports it.
                    signs.append(
                        HealthSign(
                            name: name, levels: check.levels, result: .warn("not yet reported"),
                            reportedAt: HealthSign.never))
                }
            }
        }
        if vitalSigns?.setHealth(signs, of: name) == false, state.omitted.insert(name).inserted {
            logger.warning("too many health checks: supervisor does not see this one", metadata: ["check": "\(name)"])
        }
    }

    /// The signs of a check that is expected: it keeps the worker from being ready, but must not get it replaced.
    private static func expected(_ name: String, _ levels: Set<HealthLevel>) -> [HealthSign] {
        [levels.intersection([.live]), levels.subtracting([.live])].compactMap { levels in
            levels.first.map { level in
                HealthSign(name: name, levels: levels, result: .expected(at: level), reportedAt: .now)
            }
        }
    }
}
