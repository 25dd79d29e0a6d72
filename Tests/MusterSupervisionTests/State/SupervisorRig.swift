// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

@testable import MusterSupervision

/// A state machine with timers that fire and processes that can always be made, unless told otherwise.
struct SupervisorRig {
    private(set) var state: SupervisorState
    private(set) var now = MonotonicInstant(nanoseconds: 1_000_000_000_000)
    private(set) var timers: [SupervisorTimer: MonotonicInstant] = [:]
    /// Whether `spawned` is told by itself.
    var spawnsThemselves = true

    init(
        _ groups: WorkerGroupConfiguration..., shutdownDelay: Duration = .zero, begins: Bool = true,
        spawnsThemselves: Bool = true
    ) {
        state = SupervisorState(
            SupervisorConfiguration(groups: groups, shutdownDelay: shutdownDelay, jitterSeed: 1))
        self.spawnsThemselves = spawnsThemselves
        if begins { send(.begin) }
    }

    /// One whose first workers, with incarnations 1, 2, …, are all ready; spares are parked.
    static func ready(_ groups: WorkerGroupConfiguration..., shutdownDelay: Duration = .zero) -> SupervisorRig {
        var rig = SupervisorRig(shutdownDelay: shutdownDelay, begins: false)
        rig.state = SupervisorState(
            SupervisorConfiguration(groups: groups, shutdownDelay: shutdownDelay, jitterSeed: 1))
        for incarnation in rig.send(.begin).spawned { rig.send(.ready(incarnation)) }
        for process in rig.state.processes.all where process.role.worker == nil {
            rig.send(.parked(process.incarnation))
        }
        return rig
    }

    /// Tells an event.
    ///
    /// - Returns: What has to be done, in order; timers and notices as well.
    @discardableResult
    mutating func send(_ event: SupervisorEvent) -> [SupervisorAction] {
        var actions: [SupervisorAction] = []
        state.handle(event, at: now, into: &actions)
        for action in actions {
            switch action {
            case .arm(let timer, let instant): timers[timer] = instant
            case .disarm(let timer): timers[timer] = nil
            case .spawn(let incarnation, _): if spawnsThemselves { actions += send(.spawned(incarnation)) }
            case .promote, .promoted, .stop, .abort, .kill, .finishOff, .reset, .notice, .finish: break
            }
        }
        return actions
    }

    /// Tells that a process was ended by a signal.
    @discardableResult
    mutating func kill(_ incarnation: Int, signal: Int32 = 9) -> [SupervisorAction] {
        send(.exited(incarnation, .signaled(signal), isOutOfMemory: false))
    }

    /// Tells that a process has exited.
    @discardableResult
    mutating func exit(_ incarnation: Int, code: Int32 = 0) -> [SupervisorAction] {
        send(.exited(incarnation, .exited(code: code), isOutOfMemory: false))
    }

    /// Lets time go by; what is due fires in order.
    @discardableResult
    mutating func advance(_ duration: Duration) -> [SupervisorAction] {
        let end = now.advanced(by: duration)
        var actions: [SupervisorAction] = []
        while let next = timers.min(by: { $0.value < $1.value }), next.value <= end {
            now = max(now, next.value)
            timers[next.key] = nil
            actions += send(.timer(next.key))
        }
        now = end
        return actions
    }

    /// A slot at present.
    func slot(_ slot: Int, group: Int = 0) -> WorkerSnapshot {
        state.snapshot(at: now).groups[group].slots[slot]
    }

    /// The slots' states at present.
    func states(group: Int = 0) -> [WorkerSnapshot.State] {
        state.snapshot(at: now).groups[group].slots.map(\.state)
    }

    /// How long until a timer fires.
    func delay(_ timer: SupervisorTimer) -> Duration? {
        timers[timer].map { now.duration(to: $0) }
    }
}
