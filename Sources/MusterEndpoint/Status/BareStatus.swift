// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterMetrics
import MusterPlatform

/// The status of a process of which the endpoint knows nothing but that it serves it.
struct BareStatus: StatusSource {
    private let sampler = ProcessSampler()

    func look() -> StatusLook {
        let now = WallClock.secondsSinceEpoch
        return StatusLook(
            report: StatusReport(
                at: now, name: "Muster", mode: .endpoint, version: VersionStatus(),
                process: ProcessStatus(pid: getpid(), sampler.sample(), at: now)))
    }
}
