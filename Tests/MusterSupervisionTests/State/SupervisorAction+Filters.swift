// SPDX-License-Identifier: Apache-2.0

@testable import MusterSupervision

extension [SupervisorAction] {
    /// The actions but for timers and notices.
    var deeds: [SupervisorAction] {
        filter { action in
            switch action {
            case .arm, .disarm, .notice: false
            case .spawn, .promote, .promoted, .stop, .abort, .kill, .finishOff, .reset, .finish: true
            }
        }
    }

    /// The notices.
    var notices: [SupervisorNotice] {
        compactMap { action in
            if case .notice(let notice) = action { notice } else { nil }
        }
    }

    /// The incarnations of new processes.
    var spawned: [Int] {
        compactMap { action in
            if case .spawn(let incarnation, _) = action { incarnation } else { nil }
        }
    }

    /// The deaths' reasons.
    var reasons: [DeathReason] {
        notices.compactMap { notice in
            if case .died(let death) = notice { death.reason } else { nil }
        }
    }

    /// The restarts' reasons.
    var restarts: [DeathReason] {
        notices.compactMap { notice in
            if case .restarting(_, let reason, _) = notice { reason } else { nil }
        }
    }

    /// How reloads ended.
    var reloads: [ReloadOutcome] {
        notices.compactMap { notice in
            if case .reloadEnded(let outcome) = notice { outcome } else { nil }
        }
    }
}
