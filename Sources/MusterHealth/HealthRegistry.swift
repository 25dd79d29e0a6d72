// SPDX-License-Identifier: Apache-2.0

package import Logging
import MusterLock
package import MusterPlatform

/// The health checks of a process.
///
/// Sound under any use from any thread. No lock is held while a check runs, so a check may use the registry.
public final class HealthRegistry: Sendable {
    /// Runs a job for an asynchronous check.
    ///
    /// It must return at once. If it cannot run the job it lets go of it, and the check fails.
    package typealias Runner = @Sendable (_ name: String, _ job: @escaping @Sendable () async -> Void) -> Void

    /// What is registered and expected at one moment.
    package struct Contents: Sendable {
        /// The registered checks by name. A check that is registered again under its name has another generation.
        package var checks: [String: (generation: Int, check: HealthCheck)] = [:]
        /// The levels of the expected checks that are not registered for them.
        package var expected: [String: Set<HealthLevel>] = [:]
    }

    private struct Registration {
        let check: HealthCheck
        let generation: Int
        var run: HealthRun?
        var latest: HealthReporter.Report?
    }

    private struct Expectation: Hashable {
        let name: String
        let level: HealthLevel
    }

    /// A registered check's failure, or, with a level, an announced one's absence.
    private struct Failure: Hashable {
        let name: String
        var level: HealthLevel?
    }

    private struct State {
        var registrations: [String: Registration] = [:]
        var order: [String] = []
        var expectations: [Expectation] = []
        var hasStarted = false
        /// The failures that were logged last.
        var failing: Set<Failure> = []
        var generations = 0
        var onChange: (@Sendable () -> Void)?
    }

    private let runner: Runner
    private let clock: any RuntimeClock
    private let logger: Logger
    private let state = Locked(State())

    /// Creates a registry without checks.
    ///
    /// - Parameters:
    ///   - runner: Runs the jobs of asynchronous checks.
    ///   - clock: Measures ages and time-outs.
    ///   - logger: Where changes of a check's state are told, with the reason.
    package init(
        runner: @escaping Runner, clock: any RuntimeClock = SystemClock(),
        logger: Logger = Logger(label: "muster.health").queued
    ) {
        self.runner = runner
        self.clock = clock
        self.logger = logger
    }

    // MARK: Checks

    /// Adds a check.
    ///
    /// - Throws: `HealthError` when the name is taken or not allowed, or a setting makes no sense.
    public func register(_ check: HealthCheck) throws {
        try check.validate()
        let isNew = state.withLock { state in
            guard state.registrations[check.name] == nil else { return false }
            state.generations += 1
            state.registrations[check.name] = Registration(check: check, generation: state.generations)
            state.order.append(check.name)
            state.expectations.removeAll { $0.name == check.name && check.levels.contains($0.level) }
            for level in check.levels where state.failing.remove(Failure(name: check.name, level: level)) != nil {
                state.failing.insert(Failure(name: check.name))
            }
            return true
        }
        guard isNew else { throw HealthError.duplicateName(check.name) }
        changed()
    }

    /// Calls a closure after each change of ``contents``, on the thread that makes it.
    package func onChange(_ body: @escaping @Sendable () -> Void) {
        state.withLock { $0.onChange = body }
    }

    /// What is registered and expected now.
    package var contents: Contents {
        state.withLock { state in
            var contents = Contents()
            contents.checks = state.registrations.mapValues { ($0.generation, $0.check) }
            for expectation in state.expectations {
                contents.expected[expectation.name, default: []].insert(expectation.level)
            }
            return contents
        }
    }

    private func changed() {
        state.withLock { $0.onChange }?()
    }

    /// Removes a check. Requests that wait for a run of it still get its result.
    ///
    /// - Returns: Whether there was such a check.
    @discardableResult
    package func unregister(_ name: String) -> Bool {
        let wasRegistered = state.withLock { state in
            guard state.registrations.removeValue(forKey: name) != nil else { return false }
            state.order.removeAll { $0 == name }
            state.failing.remove(Failure(name: name))
            return true
        }
        if wasRegistered { changed() }
        return wasRegistered
    }

    /// Announces a check that will be registered later. Until then it fails at the levels `ready` and `startup`, and
    /// warns at the level `live`.
    /// - Throws: `HealthError/invalidName(_:)`.
    public func expect(_ name: String, at level: HealthLevel) throws {
        try HealthCheck.validate(name: name)
        state.withLock { state in
            let expectation = Expectation(name: name, level: level)
            if state.registrations[name]?.check.levels.contains(level) == true { return }
            if !state.expectations.contains(expectation) { state.expectations.append(expectation) }
        }
        changed()
    }

    /// Withdraws an announcement.
    public func cancelExpectation(_ name: String, at level: HealthLevel) {
        state.withLock { $0.expectations.removeAll { $0.name == name && $0.level == level } }
        changed()
    }

    /// The names of a level's checks, announced ones included; `ping` alone when there is none.
    ///
    /// - Returns: The names in the order of the report.
    package func names(at level: HealthLevel) -> [String] {
        selected(at: level).map(\.name)
    }

    // MARK: Evaluation

    /// Evaluates the checks of a level.
    ///
    /// When no check has to be waited for, `completion` is called before this returns; otherwise on any thread, no
    /// later than the last time-out.
    ///
    /// - Parameters:
    ///   - excluded: Checks to leave out.
    ///   - name: The only check to evaluate; all of them when `nil`. The report of an unknown one has no entries.
    ///   - executor: Where the task that watches the time-outs runs; a thread of its own when `nil`.
    ///   - completion: Receives the report.
    /// - Returns: The wait, which can be given up; `nil` when there is nothing to wait for.
    @discardableResult
    package func evaluate(
        _ level: HealthLevel, excluding excluded: [String] = [], only name: String? = nil,
        on executor: (any TaskExecutor)? = nil, completion: @escaping @Sendable (HealthReport) -> Void
    ) -> HealthEvaluation? {
        var items = selected(at: level)
        if let name { items.removeAll { $0.name != name } }
        let unmatched = unmatchedNames(in: excluded, items)
        let mayLatch = level == .startup && name == nil && excluded.isEmpty
        if level == .startup, state.withLock({ $0.hasStarted }) {
            let entries = items.map {
                HealthReport.Entry(name: $0.name, result: .pass, isExcluded: excluded.contains($0.name))
            }
            completion(HealthReport(level: level, entries: entries, unmatchedExclusions: unmatched))
            return nil
        }
        let now = clock.now
        var entries: [HealthReport.Entry] = []
        entries.reserveCapacity(items.count)
        var slow: [Int] = []
        for (index, item) in items.enumerated() {
            let isExcluded = excluded.contains(item.name)
            var entry = HealthReport.Entry(name: item.name, result: .pass, isExcluded: isExcluded)
            if !isExcluded {
                if let known = answer(item, at: level, now: now) { entry = known } else { slow.append(index) }
            }
            entries.append(entry)
        }
        let finish: @Sendable ([HealthReport.Entry]) -> Void = { [self] entries in
            let report = HealthReport(level: level, entries: entries, unmatchedExclusions: unmatched)
            note(report, mayLatch: mayLatch)
            completion(report)
        }
        guard !slow.isEmpty else {
            finish(entries)
            return nil
        }
        let evaluation = HealthEvaluation(entries: entries, completion: finish)
        for index in slow {
            if let check = items[index].check { join(check, index: index, in: evaluation) }
        }
        evaluation.seal(clock: clock, executor: executor)
        return evaluation
    }

    /// Evaluates the checks of a level.
    ///
    /// - Parameters:
    ///   - excluded: Checks to leave out.
    ///   - name: The only check to evaluate; all of them when `nil`. The report of an unknown one has no entries.
    /// - Returns: The report, no later than the last time-out.
    package func evaluate(
        _ level: HealthLevel, excluding excluded: [String] = [], only name: String? = nil
    ) async -> HealthReport {
        await withUnsafeContinuation { continuation in
            evaluate(level, excluding: excluded, only: name) { continuation.resume(returning: $0) }
        }
    }

    /// The present instant of the registry's clock.
    package var now: MonotonicInstant { clock.now }

    // MARK: Inside

    private struct Item {
        let name: String
        /// `nil` when the check is announced only, or is the one that stands in for none.
        let check: HealthCheck?
        var isImplied = false
    }

    /// The checks of a level and those announced for it; an implied one when there is none.
    private func selected(at level: HealthLevel) -> [Item] {
        let items = state.withLock { state in
            var items: [Item] = []
            for name in state.order {
                guard let check = state.registrations[name]?.check, check.levels.contains(level) else { continue }
                items.append(Item(name: name, check: check))
            }
            for expectation in state.expectations where expectation.level == level {
                items.append(Item(name: expectation.name, check: nil))
            }
            return items
        }
        return items.isEmpty ? [Item(name: "ping", check: nil, isImplied: true)] : items
    }

    private func unmatchedNames(in excluded: [String], _ items: [Item]) -> [String] {
        var unmatched: [String] = []
        for name in excluded where !items.contains(where: { $0.name == name }) && !unmatched.contains(name) {
            unmatched.append(name)
        }
        return unmatched
    }

    /// Whether the start is known to be over, so that the level `startup` passes for good.
    private var hasStarted: Bool { state.withLock { $0.hasStarted } }

    /// What a check that takes its time found last, however long ago.
    private func latestAnswer(_ item: Item) -> HealthReport.Entry? {
        state.withLock { $0.registrations[item.name]?.latest }.map { latest in
            HealthReport.Entry(name: item.name, result: latest.result, instant: latest.instant)
        }
    }

    /// Answers for a check that need not be waited for.
    private func answer(_ item: Item, at level: HealthLevel, now: MonotonicInstant) -> HealthReport.Entry? {
        guard let check = item.check else {
            return HealthReport.Entry(
                name: item.name, result: item.isImplied ? .pass : .expected(at: level), instant: now)
        }
        switch check.kind {
        case .probe(let body):
            return HealthReport.Entry(name: check.name, result: body().bounded, instant: now)
        case .reported(let reporter):
            let report = reporter.current
            return HealthReport.Entry(
                name: check.name, result: .reported(report, maximumAge: check.maximumAge, at: now),
                instant: report?.instant)
        case .asynchronous:
            let latest = state.withLock { $0.registrations[check.name]?.latest }
            guard let latest, check.mayReuse(latest, at: now) else { return nil }
            return HealthReport.Entry(name: check.name, result: latest.result, instant: latest.instant)
        }
    }

    /// Joins the run of a check that is under way, or starts one.
    private func join(_ check: HealthCheck, index: Int, in evaluation: HealthEvaluation) {
        guard case .asynchronous(let body) = check.kind else { return }
        let now = clock.now
        enum Next {
            case known(HealthReporter.Report)
            case joined
            case start(HealthRun)
        }
        let next: Next = state.withLock { state in
            let known = state.registrations[check.name]?.run
            // A run may have ended since its result was looked for.
            if known == nil, let latest = state.registrations[check.name]?.latest, check.mayReuse(latest, at: now) {
                return .known(latest)
            }
            let run = known ?? HealthRun(startedAt: now)
            let deadline = run.startedAt.advanced(by: check.timeout)
            evaluation.await(index: index, until: deadline, timeout: check.timeout)
            // A run that hangs neither makes each request wait anew nor remembers it.
            if deadline > now { run.waiters.append(HealthRun.Waiter(evaluation: evaluation, index: index)) }
            if known != nil { return .joined }
            state.registrations[check.name]?.run = run
            return .start(run)
        }
        let run: HealthRun
        switch next {
        case .known(let report):
            let entry = HealthReport.Entry(name: check.name, result: report.result, instant: report.instant)
            return evaluation.set(index: index, entry)
        case .joined:
            return evaluation.expire(at: now)
        case .start(let started):
            run = started
        }
        let ticket = HealthRunTicket { [weak self] result in self?.finish(run, of: check.name, with: result.bounded) }
        runner("health-\(check.name)") {
            do {
                try await body()
                ticket.complete(.pass)
            } catch {
                ticket.complete(.fail("\(error)"))
            }
        }
    }

    private func finish(_ run: HealthRun, of name: String, with result: HealthResult) {
        let now = clock.now
        let waiters = state.withLock { state in
            if state.registrations[name]?.run === run {
                state.registrations[name]?.run = nil
                state.registrations[name]?.latest = HealthReporter.Report(result: result, instant: now)
            }
            defer { run.waiters = [] }
            return run.waiters
        }
        let entry = HealthReport.Entry(name: name, result: result, instant: now)
        for waiter in waiters { waiter.evaluation.fill(index: waiter.index, entry) }
    }

    /// Remembers that the start is over, and logs what has changed.
    private func note(_ report: HealthReport, mayLatch: Bool) {
        var failed: [HealthReport.Entry] = []
        var recovered: [HealthReport.Entry] = []
        state.withLock { state in
            if mayLatch, report.isPassing { state.hasStarted = true }
            for entry in report.entries where !entry.isExcluded {
                let isRegistered = state.registrations[entry.name] != nil
                let failure = Failure(name: entry.name, level: isRegistered ? nil : report.level)
                if entry.result.isPassing {
                    if state.failing.remove(failure) != nil { recovered.append(entry) }
                } else if state.failing.insert(failure).inserted {
                    failed.append(entry)
                }
            }
        }
        for entry in failed {
            logger.warning(
                "health check failed",
                metadata: [
                    "check": "\(entry.name)", "level": "\(report.level.rawValue)",
                    "reason": "\(entry.result.reason ?? "")",
                ])
        }
        for entry in recovered {
            logger.notice(
                "health check recovered",
                metadata: ["check": "\(entry.name)", "level": "\(report.level.rawValue)"])
        }
    }
}

extension HealthRegistry {
    /// The checks' state without waiting for any: those that take their time are not asked, and tell what they found
    /// last. Nothing is logged or remembered.
    package var status: HealthStatus {
        let now = now
        let present = WallClock.secondsSinceEpoch
        var status = HealthStatus()
        var places: [String: Int] = [:]
        for level in HealthLevel.allCases {
            let hasStarted = level == .startup && hasStarted
            var verdict = CheckState.pass
            for item in selected(at: level) where !item.isImplied {
                let found: CheckStatus
                if let place = places[item.name] {
                    if place < status.checks.count { status.checks[place].levels.append(level.rawValue) }
                    found = place < status.checks.count ? status.checks[place] : glance(item, level, now, present)
                } else {
                    found = glance(item, level, now, present)
                    if status.checks.count < StatusLimits.checks {
                        places[item.name] = status.checks.count
                        status.checks.append(found)
                    }
                }
                verdict = verdict.worse(found.state)
            }
            if hasStarted { verdict = .pass }
            switch level {
            case .live: status.live = verdict
            case .ready: status.ready = verdict
            case .startup: status.startup = verdict
            }
        }
        return status
    }

    private func glance(
        _ item: Item, _ level: HealthLevel, _ now: MonotonicInstant, _ present: Double
    ) -> CheckStatus {
        guard let entry = answer(item, at: level, now: now) ?? latestAnswer(item) else {
            return CheckStatus(name: item.name, levels: [level.rawValue], state: .unknown)
        }
        return CheckStatus(
            name: item.name, levels: [level.rawValue], state: entry.result.state, reason: entry.result.reason,
            foundAt: entry.instant.map { present + now.duration(to: $0).inSeconds })
    }
}
