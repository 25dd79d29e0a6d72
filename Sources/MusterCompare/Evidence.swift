// SPDX-License-Identifier: Apache-2.0

/// Everything that was measured: what a report is made from, and can be made from again.
package struct Evidence: Hashable, Codable, Sendable {
    package static let currentSchemaVersion = 1

    /// How it was measured.
    package enum Method: String, Codable, Sendable {
        /// By running the program under each side in turn: a unit is a run.
        case run
        /// From Prometheus: a unit is a worker.
        case workers
        /// From Prometheus, where a side has too few workers: a unit is a stretch of time.
        case stretches
    }

    package var schemaVersion = Self.currentSchemaVersion
    package var method: Method
    /// What the sides differ in: `backend`, or a label.
    package var by: String
    /// How it was measured, in pairs of name and value.
    package var setting: [Fact]
    package var baseline: Side
    package var candidate: Side
    package var measured: [Measured]
    /// What somebody who reads the numbers has to know.
    package var notes: [String]

    package init(
        method: Method, by: String, setting: [Fact], baseline: Side, candidate: Side, measured: [Measured],
        notes: [String]
    ) {
        self.method = method
        self.by = by
        self.setting = setting
        self.baseline = baseline
        self.candidate = candidate
        self.measured = measured
        self.notes = notes
    }

    package struct Fact: Hashable, Codable, Sendable {
        package var name: String
        package var value: String

        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    /// What is known of one side besides its values.
    package struct Side: Hashable, Codable, Sendable {
        /// What it was asked for as: `threading`.
        package var name: String
        /// The backends that ran, by `muster_backend_info`.
        package var backends: [String] = []
        /// The versions of Muster that ran.
        package var versions: [String] = []
        /// How many workers each unit had; from Prometheus one number, of all workers.
        package var workers: [Int] = []
        /// Restarts of workers that nobody has asked for, by reason.
        package var restarts: [String: Int] = [:]
        /// How often a health check changed between passing and failing.
        package var healthFlaps = 0
        /// The share of expected samples that were missing.
        package var missing = 0.0
        /// Why it could do no more: what was used up.
        package var saturation: String?

        package init(name: String) {
            self.name = name
        }
    }

    /// The values of a quantity.
    package struct Measured: Hashable, Codable, Sendable {
        package var quantity: Quantity
        package var baseline: Values
        package var candidate: Values

        package init(quantity: Quantity, baseline: Values, candidate: Values) {
            self.quantity = quantity
            self.baseline = baseline
            self.candidate = candidate
        }
    }

    /// Values of one side, by unit; with the bounds of their buckets where they come from histograms.
    package struct Values: Hashable, Codable, Sendable {
        package var units: [[Double]]
        package var lows: [[Double]]?
        package var highs: [[Double]]?

        package init(_ observations: [[Observation]]) {
            let observations = observations.filter { !$0.isEmpty }
            units = observations.map { $0.map(\.value) }
            let isExact = observations.allSatisfy { $0.allSatisfy { $0.low == $0.high } }
            lows = isExact ? nil : observations.map { $0.map(\.low) }
            highs = isExact ? nil : observations.map { $0.map(\.high) }
        }

        var all: [Double] { units.flatMap { $0 } }
        var median: Double { Statistics.median(all) }
        var lowMedian: Double { Statistics.median((lows ?? units).flatMap { $0 }) }
        var highMedian: Double { Statistics.median((highs ?? units).flatMap { $0 }) }
    }
}
