// SPDX-License-Identifier: Apache-2.0

import MusterExecution

/// Who is in a thread group, who waits for whom, and who may go on. Pure: jobs are numbers, waiting is a ticket.
///
/// A job may wait for its own group, or for room in it. Such a job is *held*: no other job of the group waits for it,
/// or the group would wait for itself; and when every thread of a full group is held, the first in the queue is let in
/// beyond the capacity, because no room would ever come free. Who waits from outside waits for held jobs too: they go
/// on as soon as the others are over.
struct ThreadGroupState: Sendable {
    /// Which members a wait is for.
    enum Scope: Hashable, Sendable {
        case timers
        case all
    }

    /// What may go on after a change.
    struct Released: Hashable, Sendable {
        /// Tickets of callers for whom there is room now.
        var admitted: [UInt64] = []
        /// Tickets of waits that are over.
        var finished: [UInt64] = []
    }

    private struct Wait: Hashable, Sendable {
        let ticket: UInt64
        let scope: Scope
        let job: UInt64?
    }

    private(set) var threads: Set<UInt64> = []
    private(set) var timers: Set<UInt64> = []
    /// The room for threads, and the callers that wait for it: the jobs that they are.
    private var pool: PoolState<UInt64?>
    private var waits: [Wait] = []
    private var held: [UInt64: Int] = [:]

    init(capacity: Int) {
        pool = PoolState(size: .fixed(capacity))
    }

    /// The number of callers that wait for room.
    var queueLength: Int { pool.queueLength }

    private var admittedButNotIn: Int { pool.running - threads.count }

    /// Takes room for a thread, if there is any and nobody has waited longer.
    mutating func admit() -> Bool { pool.take() }

    /// Gets in the queue for room.
    ///
    /// - Returns: The ticket, and what may go on.
    mutating func enqueue(job: UInt64?) -> (ticket: UInt64, released: Released) {
        let ticket = pool.enqueue(job).ticket
        hold(job)
        return (ticket, release())
    }

    /// Leaves the queue, or gives room back that was not used after all.
    mutating func abandon(_ ticket: UInt64) -> Released {
        if let job = pool.withdraw(ticket) { unhold(job) } else { pool.finish() }
        return release()
    }

    /// Gives room back that was not used after all.
    mutating func giveBack() -> Released {
        pool.finish()
        return release()
    }

    /// A thread that was admitted is in.
    ///
    /// - Returns: What may go on: the thread may already wait for its own group, and others wait for it until now.
    mutating func entered(thread: UInt64) -> Released {
        threads.insert(thread)
        return release()
    }

    /// A timer is in.
    ///
    /// - Returns: What may go on: the timer may already wait for its own group, as one of its members from now on.
    mutating func entered(timer: UInt64) -> Released {
        timers.insert(timer)
        return release()
    }

    /// A thread or a timer is over.
    mutating func left(_ job: UInt64) -> Released {
        if threads.remove(job) == nil { timers.remove(job) } else { pool.finish() }
        return release()
    }

    /// Begins to wait for the members.
    ///
    /// - Returns: The ticket, and what may go on, which may be this very wait.
    mutating func wait(_ scope: Scope, job: UInt64?) -> (ticket: UInt64, released: Released) {
        let ticket = pool.makeTicket()
        waits.append(Wait(ticket: ticket, scope: scope, job: job))
        hold(job)
        return (ticket, release())
    }

    /// A wait is given up.
    mutating func endWait(_ ticket: UInt64) {
        guard let index = waits.firstIndex(where: { $0.ticket == ticket }) else { return }
        unhold(waits.remove(at: index).job)
    }

    private mutating func hold(_ job: UInt64?) {
        guard let job else { return }
        held[job, default: 0] += 1
    }

    private mutating func unhold(_ job: UInt64?) {
        guard let job, let count = held[job] else { return }
        held[job] = count > 1 ? count - 1 : nil
    }

    private mutating func release() -> Released {
        var released = Released()
        while let (ticket, job) = pool.next(beyondLimit: pool.queueLength > 0 && isStuck) {
            unhold(job)
            released.admitted.append(ticket)
        }
        guard !waits.isEmpty else { return released }
        for wait in waits where isOver(wait) { released.finished.append(wait.ticket) }
        for ticket in released.finished { endWait(ticket) }
        return released
    }

    private func isOver(_ wait: Wait) -> Bool {
        // A caller that waits for room is on its way in.
        if wait.scope == .all, admittedButNotIn > 0 || pool.queueLength > 0 { return false }
        let present = timers.count + (wait.scope == .all ? threads.count : 0)
        if present == 0 { return true }
        // From inside, members that are held are not waited for. Most often there are too few of them to look any further.
        guard let job = wait.job, held.count >= present, threads.contains(job) || timers.contains(job) else {
            return false
        }
        return timers.allSatisfy { held[$0] != nil }
            && (wait.scope == .timers || threads.allSatisfy { held[$0] != nil })
    }

    /// Whether no thread of the group can end before a held one goes on.
    private var isStuck: Bool {
        admittedButNotIn == 0 && threads.allSatisfy { held[$0] != nil }
    }
}
