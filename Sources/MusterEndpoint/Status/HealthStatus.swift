// SPDX-License-Identifier: Apache-2.0

/// The health checks: the verdict of each level, and the checks behind them.
public struct HealthStatus: Codable, Hashable, Sendable {
    /// What `/livez` answers.
    public var live = CheckState.pass
    /// What `/readyz` answers.
    public var ready = CheckState.pass
    /// What `/startupz` answers.
    public var startup = CheckState.pass
    /// The checks in the order of their registration.
    public var checks: [CheckStatus] = []

    /// Creates the health of something without checks.
    public init() {}
}
