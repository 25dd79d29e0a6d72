// SPDX-License-Identifier: Apache-2.0

package import MusterMetrics
import MusterPlatform

/// A process' sampler that is made when it is first asked: a process that nobody scrapes costs no descriptor.
package final class LazySampler: Sendable {
    private struct State {
        var sampler: ProcessSampler?
        var latest = ProcessStatistics()
    }

    private let pid: Int32
    private let state = Locked(State())

    init(pid: Int32) {
        self.pid = pid
    }

    /// Reads the process' figures. The CPU time of one that has just ended is its latest known, so that the total does
    /// not fall before the slot has taken the rest up.
    package func sample() -> ProcessStatistics {
        state.withLock { state in
            let sampler = state.sampler ?? ProcessSampler(pid: pid)
            state.sampler = sampler
            var statistics = sampler.sample()
            if let seconds = statistics.cpuSeconds {
                state.latest.cpuSeconds = max(seconds, state.latest.cpuSeconds ?? 0)
            }
            statistics.cpuSeconds = state.latest.cpuSeconds
            return statistics
        }
    }
}
