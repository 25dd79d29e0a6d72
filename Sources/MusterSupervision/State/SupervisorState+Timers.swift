// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

extension SupervisorState {
    mutating func arm(_ timer: SupervisorTimer, at instant: MonotonicInstant, _ turn: inout SupervisorTurn) {
        timers[timer] = instant
        turn.actions.append(.arm(timer, at: instant))
    }

    mutating func disarm(_ timer: SupervisorTimer, _ turn: inout SupervisorTurn) {
        guard timers.removeValue(forKey: timer) != nil else { return }
        turn.actions.append(.disarm(timer))
    }

    /// Disarms what a process that is gone, or does something else from now on, was waited for with.
    mutating func disarmAll(of birth: Int, _ turn: inout SupervisorTurn) {
        disarm(.startup(birth), &turn)
        disarm(.kill(birth), &turn)
        disarm(.abort(birth), &turn)
    }

    mutating func fired(_ timer: SupervisorTimer, _ turn: inout SupervisorTurn) {
        guard let due = timers[timer] else { return }
        guard turn.now >= due else {
            // It was moved after it had fired.
            turn.actions.append(.arm(timer, at: due))
            return
        }
        timers[timer] = nil
        switch timer {
        case .startup(let birth): startupTimedOut(birth, &turn)
        case .kill(let birth): stopTimedOut(birth, &turn)
        case .abort(let birth): turn.actions.append(.kill(birth))
        case .backoff(let worker):
            // A slot's timer is disarmed when the slot no longer waits.
            fill(worker, &turn)
        case .spareBackoff: break  // Settling makes the spare.
        case .shutdownDelay: stopAll(&turn)
        case .halt: finish(status: 1, &turn)
        case .intensity(let group): checkIntensity(of: group, &turn)
        }
    }
}
