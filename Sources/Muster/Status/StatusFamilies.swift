// SPDX-License-Identifier: Apache-2.0

/// The metrics that a status is made of.
enum StatusFamilies {
    static let lateness = "muster_loop_lateness_seconds"
    static let drift = "muster_loop_drift_seconds"
    static let interval = "muster_loop_interval_seconds"
    static let lastRun = "muster_loop_last_run_timestamp_seconds"
    static let nextRun = "muster_loop_next_run_timestamp_seconds"
    static let runs = "muster_loop_runs_total"
    static let failures = "muster_loop_run_failures_total"
    static let overruns = "muster_loop_overruns_total"
    static let skipped = "muster_loop_skipped_total"
    static let jobs = "muster_worker_jobs"
    static let backend = "muster_backend_info"

    static let all: Set<String> = [
        lateness, drift, interval, lastRun, nextRun, runs, failures, overruns, skipped, jobs, backend,
    ]
    /// How many series of each are read of a worker: the more workers there are, the fewer, so that a look takes some
    /// tens of milliseconds at most.
    ///
    /// - Parameter workers: How many workers there are.
    static func seriesLimit(workers: Int) -> Int {
        min(1000, max(20, 60_000 / (all.count * max(1, workers))))
    }
}
