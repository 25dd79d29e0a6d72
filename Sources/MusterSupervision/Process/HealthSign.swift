// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// A worker's health check as the worker tells it.
package struct HealthSign: Hashable, Sendable {
    /// What a check speaks for.
    package struct Levels: OptionSet, Hashable, Sendable {
        package let rawValue: UInt8
        package static let live = Levels(rawValue: 1)
        package static let ready = Levels(rawValue: 2)
        package static let startup = Levels(rawValue: 4)

        package init(rawValue: UInt8) {
            self.rawValue = rawValue
        }
    }

    /// A check's result.
    package enum Status: UInt8, Sendable {
        case pass, warn, fail
    }

    /// The check's name, 63 bytes at most.
    package var name: String
    /// What the check speaks for.
    package var levels: Levels
    /// Its latest result.
    package var status: Status
    /// Why it is so, 200 bytes at most; empty for none.
    package var reason: String
    /// When it reported last.
    package var reportedAt: MonotonicInstant
    /// Since when it has had this status. Set by the writer.
    package var since: MonotonicInstant
    /// How long a report counts; zero for ever.
    package var maximumAge: Duration

    package init(
        name: String, levels: Levels, status: Status, reason: String = "", reportedAt: MonotonicInstant,
        maximumAge: Duration = .zero
    ) {
        self.name = name
        self.levels = levels
        self.status = status
        self.reason = reason
        self.reportedAt = reportedAt
        since = reportedAt
        self.maximumAge = maximumAge
    }

    /// Since when the check speaks against its process, or will when it is not heard of again; `nil` for never.
    package var failsFrom: MonotonicInstant? {
        if status == .fail { return since }
        return maximumAge > .zero ? reportedAt.advanced(by: maximumAge) : nil
    }
}
