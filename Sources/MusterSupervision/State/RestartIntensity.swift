// SPDX-License-Identifier: Apache-2.0

/// How many restarts of a group within which time are too many, and what is done then.
///
/// Erlang/OTP's supervisors call the two figures intensity and period.
public struct RestartIntensity: Hashable, Sendable {
    /// What too many restarts lead to.
    public enum Response: String, CaseIterable, Hashable, Sendable {
        /// The launcher stays and goes on trying; the group is not ready until it has calmed down.
        case absorb
        /// The launcher ends gracefully with status 1, so that whoever runs it sees it.
        case escalate
    }

    /// How many restarts within the period are tolerated.
    public var maximum: Int
    /// The time looked back at.
    public var period: Duration
    /// What more restarts lead to.
    public var whenExceeded: Response

    /// Creates a restart intensity.
    ///
    /// - Parameters:
    ///   - maximum: How many restarts within the period are tolerated.
    ///   - period: The time looked back at.
    ///   - whenExceeded: What more restarts lead to.
    public init(maximum: Int = 60, period: Duration = .seconds(60), whenExceeded: Response = .absorb) {
        self.maximum = maximum
        self.period = period
        self.whenExceeded = whenExceeded
    }
}
