// SPDX-License-Identifier: Apache-2.0

/// Where a dashboard breaks a rule.
struct DashboardFinding: CustomStringConvertible, Sendable {
    let rule: DashboardRule
    let place: String
    let details: String

    var description: String { "\(place): \(details) (\(rule))" }
}
