// SPDX-License-Identifier: Apache-2.0

import MusterMetrics
import MusterPlatform
import Synchronization

/// The jobs alive in one engine.
public final class JobLedger: Sendable {
    fileprivate struct State {
        var alive: [UInt64: Job] = [:]
        var queued = 0
        var running = 0
        var stopping = 0
        var isClosed = false
        var emptied: [Completion<Void>] = []
    }

    private static let lastIdentifier = Atomic<UInt64>(0)

    private let state = Locked(State())
    private let instruments: JobInstruments

    /// Creates an empty ledger.
    ///
    /// - Parameter instruments: The metrics it keeps up to date.
    public init(instruments: JobInstruments) {
        self.instruments = instruments
    }

    /// Enters a new job.
    ///
    /// - Parameters:
    ///   - name: The job's name.
    ///   - group: The group it belongs to.
    /// - Returns: The job, or `nil` when the ledger is closed.
    func open(name: String, group: String?) -> Job? {
        let id = Self.lastIdentifier.wrappingAdd(1, ordering: .relaxed).newValue
        let job = Job(id: id, name: name, group: group, ledger: self)
        let isOpen = state.withLock { state in
            guard !state.isClosed else { return false }
            state.alive[id] = job
            state.queued += 1
            instruments.jobs.increment()
            instruments.alive(.queued).increment()
            return true
        }
        return isOpen ? job : nil
    }

    /// Takes note of a job's move. The gauges change under the lock too, or one could be taken down before it was
    /// put up.
    func moved(from: JobState, to: JobState) {
        state.withLock { state in
            state[from] -= 1
            state[to] += 1
            instruments.alive(to).increment()
            instruments.alive(from).decrement()
        }
    }

    /// Strikes a job out.
    ///
    /// - Returns: The events that happen with the end of the last job, to be completed after the job's own.
    func ended(_ job: Job, from last: JobState, outcome: JobOutcome) -> [Completion<Void>] {
        if case .failed = outcome { instruments.failures.increment() }
        return state.withLock { state in
            state[last] -= 1
            instruments.alive(last).decrement()
            state.alive[job.id] = nil
            guard state.alive.isEmpty else { return [] }
            defer { state.emptied = [] }
            return state.emptied
        }
    }

    /// Whether new jobs are refused.
    var isClosed: Bool { state.withLock { $0.isClosed } }

    /// The number of jobs by state.
    public var census: Census {
        state.withLock { Census(queued: $0.queued, running: $0.running, stopping: $0.stopping) }
    }

    /// The jobs alive, in no order.
    public var jobs: [Job] { state.withLock { Array($0.alive.values) } }

    /// Refuses new jobs from now on and cancels the present ones.
    ///
    /// - Returns: An event that happens when the last of them is over, after that job's own end was announced.
    public func close() -> Completion<Void> {
        let completion = Completion<Void>()
        let jobs = state.withLock { state in
            state.isClosed = true
            if !state.alive.isEmpty { state.emptied.append(completion) }
            return Array(state.alive.values)
        }
        if jobs.isEmpty { completion.complete(with: ()) }
        for job in jobs { job.cancel() }
        return completion
    }
}

extension JobLedger.State {
    fileprivate subscript(_ state: JobState) -> Int {
        get {
            switch state {
            case .queued: queued
            case .running: running
            case .stopping: stopping
            case .finished: 0
            }
        }
        set {
            switch state {
            case .queued: queued = newValue
            case .running: running = newValue
            case .stopping: stopping = newValue
            case .finished: break
            }
        }
    }
}
