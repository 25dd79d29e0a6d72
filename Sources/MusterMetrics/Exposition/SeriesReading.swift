// SPDX-License-Identifier: Apache-2.0

/// One series as it was found in an arena, for those who want numbers instead of text.
package struct SeriesReading: Sendable {
    /// What a series holds.
    package enum Value: Sendable {
        /// A counter's total, with what earlier arenas had counted, or a gauge that is set.
        case number(Double)
        /// A histogram, with what earlier arenas had counted.
        case histogram(HistogramSnapshot)
    }

    /// The family's name in the text format.
    package let family: String
    /// The names of its labels.
    package let labelNames: [String]
    /// Their values.
    package let labelValues: [String]
    /// What it holds.
    package let value: Value

    /// The value of a label; `nil` when the family has none of this name.
    package subscript(label: String) -> String? {
        labelNames.firstIndex(of: label).map { labelValues[$0] }
    }

    /// The value, of anything but a histogram, when it is finite.
    package var number: Double? {
        if case .number(let number) = value, number.isFinite { number } else { nil }
    }

    /// The value of a histogram.
    package var histogram: HistogramSnapshot? {
        if case .histogram(let histogram) = value { histogram } else { nil }
    }
}
