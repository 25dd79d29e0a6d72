// SPDX-License-Identifier: Apache-2.0

/// How the processes of one launched service are supervised.
package struct WorkerGroupConfiguration: Hashable, Sendable {
    /// The launched service's name: the label `worker_group`.
    package var name: String
    /// How many workers there are at first.
    package var workers: Int
    /// How many processes are kept parked, ready to take a slot.
    package var warmSpares: Int
    /// Whether a worker that has ended is started again.
    package var policy: RestartPolicy
    /// How long a slot waits before its next process is started.
    package var backoff: RestartBackoff
    /// How many restarts are too many; nil when none are.
    package var intensity: RestartIntensity?
    /// How long a process may take until it is ready; zero for as long as it likes.
    package var startupTimeout: Duration
    /// How long a process may take to stop before it is killed; zero for as long as it likes.
    package var stopTimeout: Duration
    /// How long an aborted process may take to write its backtraces before it is killed.
    package var abortGrace: Duration

    /// Creates a group's configuration.
    package init(
        name: String, workers: Int, warmSpares: Int = 0, policy: RestartPolicy = .always,
        backoff: RestartBackoff = RestartBackoff(), intensity: RestartIntensity? = RestartIntensity(),
        startupTimeout: Duration = .seconds(60), stopTimeout: Duration = .seconds(60),
        abortGrace: Duration = .seconds(15)
    ) {
        self.name = name
        self.workers = workers
        self.warmSpares = warmSpares
        self.policy = policy
        self.backoff = backoff
        self.intensity = intensity
        self.startupTimeout = startupTimeout
        self.stopTimeout = stopTimeout
        self.abortGrace = abortGrace
    }
}
