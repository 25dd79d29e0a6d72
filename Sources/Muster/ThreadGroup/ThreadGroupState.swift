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

    /// A job that waits.
    struct Caller: Hashable, Sendable {
        let job: UInt64
        /// Whether it is one of the group's threads. Of timers the group knows.
        let isThread: Bool
    }

    private struct Wait: Hashable, Sendable {
        let ticket: UInt64
        let scope: Scope
        let job: UInt64?
    }

    private enum Member {
        case thread, timer
    }

    private struct Hold {
        /// How often the job waits.
        var count = 0
        var member: Member?
    }

    /// How many threads are alive.
    private(set) var threads = 0
    private(set) var timers: Set<UInt64> = []
    /// The room for threads.
    private var pool: PoolState
    /// The jobs among the callers that wait for room.
    private var queued: [UInt64: UInt64] = [:]
    private var waits: [Wait] = []
    private var held: [UInt64: Hold] = [:]
    private var heldThreads = 0
    private var heldTimers = 0

    init(capacity: Int) {
        pool = PoolState(size: .fixed(capacity))
    }

    /// The number of callers that wait for room.
    var queueLength: Int { pool.queueLength }

    private var admittedButNotIn: Int { pool.running - threads }

    /// Takes room for a thread, if there is any and nobody has waited longer.
    mutating func admit() -> Bool { pool.take() }

    /// Gets in the queue for room.
    ///
    /// - Returns: The ticket, and what may go on.
    mutating func enqueue(by caller: Caller?) -> (ticket: UInt64, released: Released) {
        let ticket = pool.enqueue().ticket
        hold(caller)
        queued[ticket] = caller?.job
        return (ticket, release())
    }

    /// Leaves the queue, or gives room back that was not used after all.
    mutating func abandon(_ ticket: UInt64) -> Released {
        if pool.withdraw(ticket) { unhold(queued.removeValue(forKey: ticket)) } else { pool.finish() }
        return release()
    }

    /// Gives room back that was not used after all.
    mutating func giveBack() -> Released {
        pool.finish()
        return release()
    }

    /// A thread that was admitted is in.
    ///
    /// - Returns: What may go on: waits for all but those that are held, of which the thread may be one.
    mutating func threadEntered() -> Released {
        threads += 1
        return release()
    }

    /// A timer is in.
    ///
    /// - Returns: What may go on: the timer may already wait for its own group, as one of its members from now on.
    mutating func entered(timer: UInt64) -> Released {
        timers.insert(timer)
        join(timer, as: .timer)
        return release()
    }

    /// A thread is over.
    mutating func left(thread: UInt64) -> Released {
        threads -= 1
        pool.finish()
        leave(thread)
        return release()
    }

    /// A timer is over.
    mutating func left(timer: UInt64) -> Released {
        timers.remove(timer)
        leave(timer)
        return release()
    }

    /// Begins to wait for the members.
    ///
    /// - Returns: The ticket, and what may go on, which may be this very wait.
    mutating func wait(_ scope: Scope, by caller: Caller?) -> (ticket: UInt64, released: Released) {
        let ticket = pool.makeTicket()
        waits.append(Wait(ticket: ticket, scope: scope, job: caller?.job))
        hold(caller)
        return (ticket, release())
    }

    /// A wait is given up.
    mutating func endWait(_ ticket: UInt64) {
        guard let index = waits.firstIndex(where: { $0.ticket == ticket }) else { return }
        unhold(waits.remove(at: index).job)
    }

    private mutating func hold(_ caller: Caller?) {
        guard let caller else { return }
        held[caller.job, default: Hold()].count += 1
        if caller.isThread {
            join(caller.job, as: .thread)
        } else if timers.contains(caller.job) {
            join(caller.job, as: .timer)
        }
    }

    private mutating func unhold(_ job: UInt64?) {
        guard let job, let hold = held[job] else { return }
        if hold.count > 1 {
            held[job]?.count -= 1
        } else {
            leave(job)
            held[job] = nil
        }
    }

    /// A job that is held counts among those of its kind.
    private mutating func join(_ job: UInt64, as member: Member) {
        guard let hold = held[job], hold.member == nil else { return }
        held[job]?.member = member
        count(member, by: 1)
    }

    private mutating func leave(_ job: UInt64) {
        guard heldThreads + heldTimers > 0, let member = held[job]?.member else { return }
        held[job]?.member = nil
        count(member, by: -1)
    }

    private mutating func count(_ member: Member, by difference: Int) {
        switch member {
        case .thread: heldThreads += difference
        case .timer: heldTimers += difference
        }
    }

    private mutating func release() -> Released {
        var released = Released()
        while pool.queueLength > 0, let ticket = pool.next(beyondLimit: isStuck) {
            unhold(queued.removeValue(forKey: ticket))
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
        if timers.isEmpty, wait.scope == .timers || threads == 0 { return true }
        // From inside, members that are held are not waited for.
        guard heldTimers == timers.count, wait.scope == .timers || heldThreads == threads else { return false }
        return wait.job.flatMap { held[$0]?.member } != nil
    }

    /// Whether no thread of the group can end before a held one goes on.
    private var isStuck: Bool { admittedButNotIn == 0 && heldThreads == threads }
}
