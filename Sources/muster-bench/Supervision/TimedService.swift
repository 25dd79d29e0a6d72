// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Muster
import MusterMetrics

/// Tells when it is started, and does nothing else.
struct TimedService: ServiceBase {
    let name = "bench"
    let series: Int

    func start() async throws {
        let now = cmusterbench_now()
        SupervisionRecord(kind: .started, value: now).send()
        guard series > 0 else { return }
        try Benchmark.addSeries(series, to: .shared)
    }
}
