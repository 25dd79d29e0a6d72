// SPDX-License-Identifier: Apache-2.0

/// What the driver has to know of the processes that it owns.
extension SupervisorState {
    /// A group's name.
    package func groupName(_ group: Int) -> String {
        groups.indices.contains(group) ? groups[group].configuration.name : "\(group)"
    }

    /// How long an aborted process of a group has for its backtraces.
    package func abortGrace(ofGroup group: Int) -> Duration {
        groups.indices.contains(group) ? groups[group].configuration.abortGrace : .zero
    }

    /// Whether a process is judged by its signs of life: a slot's worker that is ready. One that starts has the
    /// start-up time-out, one that stops the stop's.
    package func isJudged(_ birth: Int) -> Bool {
        processes[birth]?.phase == .ready
    }

    /// Whether the end has come to the point where workers are stopped: the shutdown delay is over.
    package var isStoppingWorkers: Bool {
        switch stage {
        case .waiting, .running, .delaying: false
        case .stopping, .halting, .finished: true
        }
    }
}
