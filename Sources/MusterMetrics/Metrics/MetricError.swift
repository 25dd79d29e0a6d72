// SPDX-License-Identifier: Apache-2.0

/// Why a metric cannot be registered, and what to change.
public enum MetricError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The name breaks a rule.
    case invalidName(String, problem: String)
    /// A label's name breaks a rule.
    case invalidLabelName(String, metric: String, problem: String)
    /// The unit breaks a rule.
    case invalidUnit(String, metric: String, problem: String)
    /// The help text breaks a rule.
    case invalidHelp(metric: String, problem: String)
    /// The bucket bounds break a rule.
    case invalidBuckets(String)
    /// A label's value breaks a rule.
    case invalidLabelValue(metric: String, problem: String)
    /// The name is taken by a family that differs.
    case clash(name: String, difference: String)

    /// What is wrong and how to put it right.
    public var description: String {
        switch self {
        case .invalidName(let name, let problem):
            "metric \"\(name)\": \(problem)"
        case .invalidLabelName(let name, let metric, let problem):
            "metric \"\(metric)\": label \"\(name)\": \(problem)"
        case .invalidUnit(let unit, let metric, let problem):
            "metric \"\(metric)\": unit \"\(unit)\": \(problem)"
        case .invalidHelp(let metric, let problem):
            "metric \"\(metric)\": help text: \(problem)"
        case .invalidBuckets(let problem):
            "histogram buckets: \(problem)"
        case .invalidLabelValue(let metric, let problem):
            "metric \"\(metric)\": label value: \(problem)"
        case .clash(let name, let difference):
            "metric \"\(name)\" is already taken: \(difference); give one of the two another name, "
                + "or register both alike"
        }
    }
}
