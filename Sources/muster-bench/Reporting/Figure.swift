// SPDX-License-Identifier: Apache-2.0

/// One result.
struct Figure {
    let name: String
    let unit: Unit
    let measured: Double
    let reference: (name: String, value: Double)?
    let ratio: Double?
    /// Between which ratios four of five rounds were.
    let ratioRange: ClosedRange<Double>?
    let limit: Limit
    let note: String?

    /// Compares medians of rounds; the ratio is the median of the rounds' ratios.
    ///
    /// - Parameters:
    ///   - name: What was measured.
    ///   - unit: The unit of all values.
    ///   - measured: A value for each round.
    ///   - reference: What it is compared with, and its value in each round.
    ///   - isRatioMeaningful: Whether to tell a ratio; not of values around zero.
    ///   - limit: What it has to hold.
    ///   - note: What else there is to know.
    init(
        _ name: String, in unit: Unit, _ measured: [Double], against reference: (name: String, values: [Double]),
        isRatioMeaningful: Bool = true, limit: Limit = .none, note: String? = nil
    ) {
        self.name = name
        self.unit = unit
        self.measured = Statistics.median(measured)
        self.reference = (reference.name, Statistics.median(reference.values))
        let ratios = zip(measured, reference.values).filter { $0.1 != 0 }.map { $0.0 / $0.1 }
        if isRatioMeaningful, !ratios.isEmpty {
            ratio = Statistics.median(ratios)
            ratioRange = Statistics.quantile(0.1, of: ratios)...Statistics.quantile(0.9, of: ratios)
        } else {
            ratio = nil
            ratioRange = nil
        }
        self.limit = limit
        self.note = note
    }

    /// Tells a value alone.
    init(_ name: String, in unit: Unit, _ measured: [Double], limit: Limit = .none, note: String? = nil) {
        self.name = name
        self.unit = unit
        self.measured = Statistics.median(measured)
        reference = nil
        ratio = nil
        ratioRange = nil
        self.limit = limit
        self.note = note
    }

    var verdict: Verdict {
        switch limit {
        case .none: .none
        case .ratioAtMost(let limit): (ratio ?? .infinity) <= limit ? .ok : .above
        case .ratioAtLeast(let limit): (ratio ?? 0) >= limit ? .ok : .below
        case .valueAtMost(let limit): measured <= limit ? .ok : .above
        }
    }
}
