// SPDX-License-Identifier: Apache-2.0

/// What a reload (SIGHUP) does to the services.
///
/// Upstream: `restart_method`.
public enum RestartMethod: String, Hashable, Sendable, CaseIterable {
    /// Stops each service, resets it and starts it again.
    case reload
    /// Resets each service while it runs.
    case mutate
}
