// SPDX-License-Identifier: Apache-2.0

package import MusterMetrics
import MusterPlatform

/// A process' sampler that is made when it is first asked: a process that nobody scrapes costs no descriptor.
package final class LazySampler: Sendable {
    private let pid: Int32
    private let sampler = Locked<ProcessSampler?>(nil)

    init(pid: Int32) {
        self.pid = pid
    }

    /// Reads the process' figures.
    package func sample() -> ProcessStatistics {
        sampler.withLock { sampler in
            if let sampler { return sampler }
            let made = ProcessSampler(pid: pid)
            sampler = made
            return made
        }.sample()
    }
}
