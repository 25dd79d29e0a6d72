// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// The life of a supervisor and its workers: events in, actions out. Pure: no clock, no process, no signal; the same
/// events at the same instants lead to the same actions, the jitter included.
///
/// The phases of a process, by what happens to it. A successor takes its slot over when it gets ready; its predecessor,
/// and any process whose slot is no longer wanted or has another one, is a former one from then on and only stops. An
/// end is counted by the phase it comes in (the last line) and, if the slot wants a process, followed by another one.
///
/// |               | starting       | parked    | ready    | stopping   | aborting      |
/// |---------------|----------------|-----------|----------|------------|---------------|
/// | parked        | parked¹        | –         | –        | –          | –             |
/// | promoted      | –              | starting  | –        | –          | –             |
/// | ready         | ready²         | –         | –        | –          | –             |
/// | startFailed   | –³             | –         | –        | –          | –             |
/// | unresponsive  | aborting²      | –         | aborting | –          | –             |
/// | startup timer | aborting       |           |          |            |               |
/// | abort timer   |                |           |          |            | killed        |
/// | kill timer    |                |           |          | killed     |               |
/// | not wanted    | stopping       | killed    | stopping | –          | –             |
/// | exited        | exit, signal,  | as        | as       | requested, | heartbeat,    |
/// |               | oom            | starting  | starting | reload     | startup_timeout |
///
/// ¹ Spares only. ² All but spares. ³ The launcher ends with status 1 if no worker of the group has ever been ready.
///
/// The stages of the supervisor, by what is asked of it:
///
/// |                     | running  | delaying | stopping | halting  | finished |
/// |---------------------|----------|----------|----------|----------|----------|
/// | terminate           | delaying⁴| halting  | halting  | –        | –        |
/// | end                 | delaying⁴| –        | –        | –        | –        |
/// | interrupt           | halting  | halting  | halting  | –        | –        |
/// | policy, intensity   | delaying⁴|          |          |          |          |
/// | shutdownDelay timer |          | stopping |          |          |          |
/// | last process gone   |          | finished | finished | finished |          |
/// | halt timer          |          |          |          | finished |          |
/// | reload, mutate, scale, replace | done | –  | –        | –        | –        |
///
/// ⁴ Stopping at once if there is no shutdown delay, or no worker left that could use it.
///
/// Births and timers that are not known, or no longer, are passed over: a process may be reaped before its last message
/// is read.
package struct SupervisorState: Sendable {
    /// Where the supervisor is.
    enum Stage: Hashable, Sendable {
        case waiting
        case running
        case delaying(status: Int32)
        case stopping(status: Int32)
        case halting
        case finished
    }

    /// How long a killed process may take to be gone before the end comes without it.
    static let haltGrace = Duration.seconds(1)

    let shutdownDelay: Duration
    var stage = Stage.waiting
    var groups: [WorkerGroup]
    var processes = ProcessTable()
    var nextBirth = 1
    var timers: [SupervisorTimer: MonotonicInstant] = [:]
    var roll: RollingReload?
    /// Whether another roll follows the one under way.
    var isReloadRemembered = false
    var random: SplitMix64

    /// Creates a supervisor that waits for `begin`.
    package init(_ configuration: SupervisorConfiguration) {
        groups = configuration.groups.map { WorkerGroup($0) }
        shutdownDelay = configuration.shutdownDelay
        random = SplitMix64(seed: configuration.jitterSeed)
    }

    /// Takes an event in.
    ///
    /// - Parameters:
    ///   - event: What has happened.
    ///   - now: When. Never before the instant of an event before.
    ///   - actions: Where what has to be done is appended.
    package mutating func handle(
        _ event: SupervisorEvent, at now: MonotonicInstant, into actions: inout [SupervisorAction]
    ) {
        guard stage != .finished else { return }
        var turn = SupervisorTurn(now: now)
        swap(&turn.actions, &actions)
        take(event, &turn)
        settle(&turn)
        swap(&turn.actions, &actions)
    }

    private mutating func take(_ event: SupervisorEvent, _ turn: inout SupervisorTurn) {
        switch event {
        case .begin: begin(&turn)
        case .spawned(let birth): spawned(birth, &turn)
        case .spawnFailed(let birth): spawnFailed(birth, &turn)
        case .parked(let birth): parked(birth, &turn)
        case .ready(let birth): ready(birth, &turn)
        case .startFailed(let birth): startFailed(birth, &turn)
        case .exited(let birth, let termination, let isOutOfMemory):
            exited(birth, termination, isOutOfMemory: isOutOfMemory, &turn)
        case .unresponsive(let birth, let canAbort): unresponsive(birth, canAbort: canAbort, &turn)
        case .terminate: terminate(&turn)
        case .end(let status): beginShutdown(status: status, &turn)
        case .interrupt: halt(&turn)
        case .reload: reload(&turn)
        case .mutate: mutate(&turn)
        case .reloadRefused: turn.notice(.reloadEnded(.refused))
        case .scale(let group, let workers): scale(group, to: workers, &turn)
        case .addWorker: scaleAll(by: 1, &turn)
        case .removeWorker: scaleAll(by: -1, &turn)
        case .replace(let worker): replace(worker, &turn)
        case .reconfigure(let configurations): reconfigure(configurations, &turn)
        case .timer(let timer): fired(timer, &turn)
        }
    }

    private mutating func begin(_ turn: inout SupervisorTurn) {
        guard stage == .waiting else { return }
        stage = .running
        for group in groups.indices {
            for slot in 0..<groups[group].asked { fill(WorkerID(group: group, slot: slot), &turn) }
        }
    }

    /// What follows from where everything is now, whichever event led there.
    private mutating func settle(_ turn: inout SupervisorTurn) {
        switch stage {
        case .waiting, .finished: break
        case .running:
            for group in groups.indices { settleSpares(of: group, &turn) }
        case .delaying(let status), .stopping(let status):
            if processes.isEmpty { finish(status: status, &turn) }
        case .halting:
            if processes.isEmpty { finish(status: 1, &turn) }
        }
    }

    /// Takes other limits over. Timers that are armed keep their instants.
    private mutating func reconfigure(_ configurations: [WorkerGroupConfiguration], _ turn: inout SupervisorTurn) {
        for (group, configuration) in zip(groups.indices, configurations) {
            groups[group].configuration = configuration
            checkIntensity(of: group, &turn)
        }
    }
}
