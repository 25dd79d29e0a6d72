// SPDX-License-Identifier: Apache-2.0

/// What a ``SupervisorState`` is made with.
package struct SupervisorConfiguration: Hashable, Sendable {
    /// The launched services, in the order of launching.
    package var groups: [WorkerGroupConfiguration]
    /// How long the workers go on, no longer ready, before a graceful end stops them.
    package var shutdownDelay: Duration
    /// What the restart delays' jitter is drawn from.
    package var jitterSeed: UInt64

    /// Creates a configuration.
    package init(groups: [WorkerGroupConfiguration], shutdownDelay: Duration = .zero, jitterSeed: UInt64) {
        self.groups = groups
        self.shutdownDelay = shutdownDelay
        self.jitterSeed = jitterSeed
    }
}
