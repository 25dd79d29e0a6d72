// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth
import MusterLock
import MusterPlatform
import MusterSupervision

/// The supervisor's health checks: about itself, about its workers, and about what the workers' own checks say.
///
/// | check | level | fails when |
/// |---|---|---|
/// | `supervisor` | live | the supervisor's event loop has been blocked for longer than the liveness limit |
/// | `hung-workers` | live | a worker has been hung for longer than it takes to replace it |
/// | `shutdown` | ready | a graceful end has begun |
/// | `workers` | ready, startup | a launched service has too few ready workers; warns when one restarts too often |
/// | `ended-looping-calls` | ready | never; warns while a worker has a looping call that ended with an error |
/// | the application's | ready, startup | too few ready workers pass it |
///
/// A worker that fails a check of the application's of the level live is replaced; the supervisor is live nevertheless,
/// and only warns.
final class SupervisorHealth: Sendable {
    /// How much longer than its backtraces may take a hung worker may be there.
    private static let replacementMargin: Duration = .seconds(2)

    private struct State {
        var settings: MusterSettings
        var registry: HealthRegistry?
        var announced: HealthRegistry.Contents?
        /// The application's checks.
        var known: [String: Set<HealthLevel>] = [:]
        /// Those of them that are in the registry. One with the name of a check of the supervisor's process is not.
        var registered: Set<String> = []
    }

    private static let gone = HealthResult.fail("launcher no longer exists")

    private let published: PublishedSupervisor
    private let state: Locked<State>
    private let updating = Locked(())

    init(of published: PublishedSupervisor, settings: MusterSettings) {
        self.published = published
        state = Locked(State(settings: settings))
    }

    func take(_ settings: MusterSettings) {
        state.withLock { $0.settings = settings }
    }

    /// Adds the checks that do not depend on the application.
    func register(with registry: HealthRegistry) throws {
        state.withLock { $0.registry = registry }
        // The registry may outlive the launcher.
        try registry.register(.probe("supervisor", .live) { [weak self] in self?.supervisorTurns ?? Self.gone })
        try registry.register(.probe("hung-workers", .live) { [weak self] in self?.hungWorkers ?? Self.gone })
        try registry.register(.probe("shutdown", .ready) { [weak self] in self?.shutdown ?? Self.gone })
        try registry.register(.probe("workers", .ready, .startup) { [weak self] in self?.workers ?? Self.gone })
        try registry.register(.probe(LoopMonitor.endedCheck, .ready) { [weak self] in self?.endedLoops ?? .pass })
    }

    /// Follows the checks that the program has announced: they are shown from the start, others once a worker has
    /// them.
    func expect(_ announced: HealthRegistry) {
        let update: @Sendable () -> Void = { [weak self, weak announced] in
            guard let self, let announced else { return }
            state.withLock { $0.announced = announced.contents }
            updateChecks(published.report)
        }
        announced.onChange(update)
        update()
    }

    /// Brings the application's checks up to date: those announced, and those that workers have.
    private func updateChecks(_ report: SupervisorReport?) {
        // One after the other, or a check that was removed could be registered after its removal.
        updating.withLock { _ in update(report) }
    }

    private func update(_ report: SupervisorReport?) {
        var changes: [(name: String, levels: Set<HealthLevel>?)] = []
        let registry = state.withLock { state in
            var found = state.announced?.checks.mapValues(\.check.levels) ?? [:]
            found.merge(state.announced?.expected ?? [:]) { $0.union($1) }
            for process in (report?.processes ?? [:]).values {
                for sign in process.vitalSigns.health {
                    // However many names damaged memory may hold.
                    guard sign.name != LoopMonitor.endedCheck else { continue }
                    guard found.count < 64 || found[sign.name] != nil else { continue }
                    found[sign.name, default: []].formUnion(sign.levels)
                }
            }
            for name in state.known.keys where found[name] == nil { changes.append((name, nil)) }
            for (name, levels) in found where state.known[name] != levels { changes.append((name, levels)) }
            state.known = found
            return state.registry
        }
        for (name, levels) in changes { replace(name, levels, in: registry) }
    }

    private func replace(_ name: String, _ levels: Set<HealthLevel>?, in registry: HealthRegistry?) {
        guard let registry else { return }
        if state.withLock({ $0.registered.remove(name) }) != nil { registry.unregister(name) }
        guard let levels, !levels.isEmpty else { return }
        // A worker that fails a live check is replaced; the supervisor only warns.
        let others = levels.subtracting([.live])
        let check = HealthCheck.probe(name, others.isEmpty ? [.live] : others) { [weak self] in
            guard let self else { return Self.gone }
            return others.isEmpty ? warning(onCheck: name) : verdict(onCheck: name)
        }
        do {
            try registry.register(check)
            state.withLock { _ = $0.registered.insert(name) }
        } catch {
            // The name is taken by a check of the supervisor's process, which keeps it.
        }
    }

    // MARK: The supervisor

    private var supervisorTurns: HealthResult {
        let limit = state.withLock { $0.settings.livenessLimit }
        guard let busy = published.supervisor?.busyTime, busy > limit else { return .pass }
        return .fail("supervisor's event loop blocked for \(busy.text); the limit is \(limit.text)")
    }

    private var hungWorkers: HealthResult {
        let settings = state.withLock { $0.settings }
        guard settings.liveCondition == .noHungWorker, let report = published.report else { return .pass }
        let now = MonotonicInstant.now
        let limit = settings.abortGrace + Self.replacementMargin
        for group in report.snapshot.groups {
            for slot in group.slots where slot.state == .aborting {
                guard let since = slot.incarnation.flatMap({ report.processes[$0]?.hungSince }),
                    since.duration(to: now) > limit
                else { continue }
                return .fail(
                    "worker \(group.configuration.name)/\(slot.worker.slot) has been hung for longer than \(limit)")
            }
        }
        return .pass
    }

    private var shutdown: HealthResult {
        switch published.report?.snapshot.phase {
        case nil, .running: .pass
        case .stopping, .halting: .fail("shutdown has begun")
        case .finished: .fail("shutdown is over")
        }
    }

    // MARK: The workers

    private var workers: HealthResult {
        let settings = state.withLock { $0.settings }
        guard let report = published.report else { return .fail("workers not started") }
        updateChecks(report)
        var problems: [String] = []
        var warnings: [String] = []
        for group in report.snapshot.groups {
            let name = group.configuration.name
            let ready = group.slots.filter { isReady($0, report) }.count
            if group.isOverIntensity { warnings.append("\(name) restarts too often") }
            if ready < needed(of: group, settings.readyCondition) {
                problems.append("\(name) has \(ready) of \(group.workers) workers ready\(others(group))")
            }
        }
        if !problems.isEmpty { return .fail((problems + warnings).joined(separator: "; ")) }
        return warnings.isEmpty ? .pass : .warn(warnings.joined(separator: "; "))
    }

    /// A service that was scaled to nothing, or has done all it was for, needs nobody.
    private func needed(of group: WorkerGroupSnapshot, _ condition: ReadyCondition) -> Int {
        let wanted = group.slots.prefix(group.workers).count { $0.state != .finished }
        switch condition {
        case .anyWorker: return min(1, wanted)
        case .everyWorker: return wanted
        }
    }

    private func others(_ group: WorkerGroupSnapshot) -> String {
        let states: [WorkerSnapshot.State] = [.starting, .stopping, .aborting, .backoff]
        let parts = states.compactMap { state in
            let count = group.slots.count { $0.state == state }
            return count > 0 ? "\(count) \(state.rawValue)" : nil
        }
        return parts.isEmpty ? "" : " (\(parts.joined(separator: ", ")))"
    }

    /// Whether a worker has started and none of its checks of readiness fails.
    private func isReady(_ slot: WorkerSnapshot, _ report: SupervisorReport) -> Bool {
        guard slot.state == .ready, let process = slot.incarnation.flatMap({ report.processes[$0] }) else {
            return false
        }
        let now = MonotonicInstant.now
        return process.vitalSigns.health.allSatisfy { entry in
            !entry.levels.contains(.ready) || entry.isPassing(at: now)
        }
    }

    private var endedLoops: HealthResult {
        guard let report = published.report else { return .pass }
        var warnings: [String] = []
        for group in report.snapshot.groups {
            for slot in group.slots where slot.state == .ready {
                guard let process = slot.incarnation.flatMap({ report.processes[$0] }),
                    let sign = process.vitalSigns.health.first(where: { $0.name == LoopMonitor.endedCheck }),
                    let reason = sign.result.reason
                else { continue }
                warnings.append("worker \(group.configuration.name)/\(slot.worker.slot): \(reason)")
            }
        }
        guard let first = warnings.first else { return .pass }
        return .warn(warnings.count > 1 ? "\(first) (and \(warnings.count - 1) more)" : first)
    }

    // MARK: The application's checks

    private func warning(onCheck name: String) -> HealthResult {
        switch verdict(onCheck: name) {
        case .pass: .pass
        case .warn(let reason), .fail(let reason): .warn(reason)
        }
    }

    private func verdict(onCheck name: String) -> HealthResult {
        let settings = state.withLock { $0.settings }
        guard let report = published.report else { return .fail("workers not started") }
        let now = MonotonicInstant.now
        var failures: [String] = []
        var warnings: [String] = []
        var passing = 0
        var unreported = 0
        var ready = 0
        for group in report.snapshot.groups {
            for slot in group.slots where slot.state == .ready {
                guard let process = slot.incarnation.flatMap({ report.processes[$0] }) else { continue }
                ready += 1
                let signs = process.vitalSigns.health.filter { $0.name == name }
                guard let worst = signs.first(where: { !$0.isPassing(at: now) }) ?? signs.first else { continue }
                let worker = "worker \(group.configuration.name)/\(slot.worker.slot)"
                if worst.isStale(at: now) {
                    failures.append("\(worker): no report for longer than \(worst.maximumAge)")
                } else if !worst.result.isPassing {
                    failures.append("\(worker): \(worst.result.reason ?? "")")
                } else if signs.allSatisfy({ $0.reportedAt == HealthSign.never }) {
                    unreported += 1
                } else {
                    passing += 1
                    let warning = signs.lazy.compactMap { $0.result.reason }.first
                    if let warning { warnings.append("\(worker): \(warning)") }
                }
            }
        }
        if ready == 0 { return .fail("no worker is ready") }
        let isEnough = settings.readyCondition == .anyWorker ? passing > 0 : passing > 0 && failures.isEmpty
        if let first = failures.first {
            let text = failures.count > 1 ? "\(first) (and \(failures.count - 1) more)" : first
            return isEnough ? .warn(text) : .fail(text)
        }
        if passing == 0, unreported > 0 { return .fail("not reported by any ready worker") }
        return warnings.first.map(HealthResult.warn) ?? .pass
    }
}
