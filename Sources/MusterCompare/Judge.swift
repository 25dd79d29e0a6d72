// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// What a comparison says about one quantity.
package struct Row: Hashable, Codable, Sendable {
    package enum Outcome: String, Codable, Sendable {
        case better, worse
        /// The sides differ, and neither direction is better.
        case differs
        /// No significant difference of relevant size.
        case alike
        /// There might be a difference; the values do not allow to say.
        case noVerdict
        /// One side, or both, do not have the quantity.
        case noData

        package var isVerdict: Bool { self != .noVerdict && self != .noData }
    }

    package var quantity: Quantity
    /// The sides' medians.
    package var baseline: Double?
    package var candidate: Double?
    package var ratio: Statistics.Interval?
    package var difference: Statistics.Interval?
    /// The probability of such ranks if the sides were alike, before and after the correction for many comparisons.
    package var p: Double?
    package var adjustedP: Double?
    /// Cliff's delta.
    package var effect: Double?
    package var outcome: Outcome
    /// Why there is no verdict, or none but "alike", and what would help.
    package var reason: String?
    package var remedy: String?

    package init(quantity: Quantity, outcome: Outcome) {
        self.quantity = quantity
        self.outcome = outcome
    }

    /// The verdict in a word.
    package var word: String {
        switch outcome {
        case .better: "better"
        case .worse: "worse"
        case .differs: "differs"
        case .alike: reason.map { "~ \($0)" } ?? "~"
        case .noVerdict: reason ?? "no verdict"
        case .noData: reason ?? "no data"
        }
    }

    /// The change with its interval, in percent, or as ratios where one of them is large.
    package var changeText: String {
        guard let ratio else {
            guard let difference else { return "" }
            return Self.text(difference, quantity.text)
        }
        let isLarge = [ratio.estimate, ratio.low, ratio.high].contains { $0 >= 2 || $0 <= 0.5 }
        return Self.text(ratio) { ratio in
            if isLarge { return PlainText.number(ratio) + "x" }
            let percent = (ratio - 1) * 100
            return (percent >= 0 ? "+" : "") + PlainText.number(percent, places: 1) + " %"
        }
    }

    private static func text(_ interval: Statistics.Interval, _ text: (Double) -> String) -> String {
        "\(text(interval.estimate)) [\(text(interval.low)), \(text(interval.high))]"
    }

    /// The adjusted probability, as tables show it.
    package var probabilityText: String {
        guard let adjustedP else { return "" }
        let thousandths = Int((adjustedP * 1000).rounded())
        return adjustedP < 0.001 ? "<0.001" : thousandths < 10 ? "0.00\(thousandths)" : PlainText.number(adjustedP)
    }
}

/// A whole comparison.
package struct Report: Hashable, Codable, Sendable {
    /// A reason to refuse every verdict, and what would help.
    package struct Refusal: Hashable, Codable, Sendable {
        package var reason: String
        package var remedy: String
    }

    package struct Condition: Hashable, Codable, Sendable {
        package var text: String
        package var outcome: MusterCompare.Condition.Outcome
    }

    /// The least change that counts as one, such as 0.05.
    package var relevant: Double
    package var rows: [Row]
    package var refusals: [Refusal]
    package var notes: [String]
    package var conditions: [Condition]
    package var evidence: Evidence

    /// What the report says in a sentence.
    package var summary: String {
        if let refusal = refusals.first { return "no verdict: \(refusal.reason)" }
        let verdicts = rows.filter(\.outcome.isVerdict)
        func count(_ outcome: Row.Outcome) -> Int { rows.count { $0.outcome == outcome } }
        guard !verdicts.isEmpty else { return "no verdict on any quantity" }
        let parts = [
            (count(.better), "better"), (count(.worse), "worse"), (count(.differs), "different"),
            (count(.alike), "without a relevant difference"), (count(.noVerdict), "without a verdict"),
        ]
        let said = parts.filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
        return "\(evidence.candidate.name) against \(evidence.baseline.name): \(said)"
    }
}

/// Decides what evidence allows to say. A pure function of the evidence: the same report each time.
package struct Judge: Sendable {
    /// Fewer units than this underestimate the noise, and intervals hold the truth too seldom.
    package static let fewestUnits = 5
    private static let significance = 0.05
    /// An interval that reaches further than this from what was measured is too wide for a verdict "alike".
    private static let widest = 1.25

    private let relevant: Double
    private let conditions: [Condition]

    package init(relevant: Double, conditions: [Condition]) {
        self.relevant = relevant
        self.conditions = conditions
    }

    package func report(_ evidence: Evidence) -> Report {
        let refusals = refusals(evidence)
        var rows = evidence.measured.map { measure($0, evidence) }
        let tested = rows.indices.filter { rows[$0].p != nil }
        let adjusted = Statistics.benjaminiHochberg(tested.map { rows[$0].p ?? 1 })
        for (index, p) in zip(tested, adjusted) {
            rows[index].adjustedP = p
            guard rows[index].outcome == .alike else { continue }
            decide(&rows[index], evidence, refusals)
        }
        return Report(
            relevant: relevant, rows: rows, refusals: refusals, notes: evidence.notes + notes(evidence),
            conditions: conditions.map { Report.Condition(text: $0.text, outcome: $0.outcome(rows)) },
            evidence: evidence)
    }

    // MARK: One quantity

    /// The numbers; and the outcome where there are too few of them.
    private func measure(_ measured: Evidence.Measured, _ evidence: Evidence) -> Row {
        let (a, b) = (measured.baseline, measured.candidate)
        var row = Row(quantity: measured.quantity, outcome: .alike)
        row.baseline = a.units.isEmpty ? nil : a.median
        row.candidate = b.units.isEmpty ? nil : b.median
        for (values, side) in [(a, evidence.baseline), (b, evidence.candidate)] where values.units.isEmpty {
            let isBoth = a.units.isEmpty && b.units.isEmpty
            row.outcome = .noData
            row.reason = isBoth ? "no data" : "no data from \(side.name)"
            return row
        }
        let fewest = min(a.units.count, b.units.count)
        guard fewest >= Self.fewestUnits else {
            row.outcome = .noVerdict
            row.reason = "too few points"
            row.remedy = remedy(units: fewest, evidence)
            return row
        }
        let test = Statistics.rankTest(a.units, b.units)
        row.p = test.p
        row.effect = test.delta
        var (ratio, difference) = Statistics.intervals(a.units, b.units)
        // Where in its bucket a value lies is not known.
        if a.lows != nil || b.lows != nil {
            difference.low = min(difference.low, b.lowMedian - a.highMedian)
            difference.high = max(difference.high, b.highMedian - a.lowMedian)
            if let known = ratio {
                ratio?.low = min(known.low, b.lowMedian / a.highMedian)
                ratio?.high = max(known.high, a.lowMedian > 0 ? b.highMedian / a.lowMedian : 1000)
            }
        }
        row.ratio = ratio
        row.difference = difference
        return row
    }

    private func remedy(units: Int, _ evidence: Evidence) -> String {
        switch evidence.method {
        case .run: "\(units) of \(Self.fewestUnits) runs a side have it: use more --rounds, or a longer --duration"
        case .workers, .stretches:
            "\(units) of \(Self.fewestUnits) units a side have it: use more workers or a longer --window"
        }
    }

    private func decide(_ row: inout Row, _ evidence: Evidence, _ refusals: [Report.Refusal]) {
        func refuse(_ reason: String, _ remedy: String) {
            row.outcome = .noVerdict
            row.reason = reason
            row.remedy = remedy
        }
        if let refusal = refusals.first { return refuse("refused", refusal.remedy) }
        if row.quantity.suffersFromSaturation,
            let side = [evidence.baseline, evidence.candidate].first(where: { $0.saturation != nil })
        {
            return refuse(
                "\(side.name) saturated",
                "\(side.saturation ?? ""): use a quieter machine, and a load with a constant rate below the capacity (h2load --rps)"
            )
        }
        guard let difference = row.difference else { return }
        let isSmall = abs(difference.estimate) < row.quantity.floor
        let isChange =
            row.ratio.map { max($0.estimate, 1 / $0.estimate) >= 1 + relevant } ?? (difference.estimate != 0)
        let isRelevant = isChange && !isSmall
        let isSignificant = (row.adjustedP ?? 1) <= Self.significance
        let isCertain =
            row.ratio.map { $0.low > 1 || $0.high < 1 } ?? (difference.low > 0 || difference.high < 0)
        if isRelevant, isSignificant, isCertain {
            let isMore = difference.estimate > 0
            switch row.quantity.better {
            case .neither: row.outcome = .differs
            case .less: row.outcome = isMore ? .worse : .better
            case .more: row.outcome = isMore ? .better : .worse
            }
            return
        }
        if isRelevant, isCertain { return refuse("not proved", proof(row, evidence)) }
        if isChange, isCertain { row.reason = "below \(row.quantity.text(row.quantity.floor))" }
        // A difference that is irrelevant whatever its true size is none.
        if max(abs(difference.low), abs(difference.high)) <= row.quantity.floor { return }
        let isCoarse = isCoarse(row, evidence)
        func refuseCoarse() {
            refuse("buckets too wide", "the mean is exact; native histograms tell quantiles more precisely")
        }
        if isSignificant, isRelevant {
            return isCoarse
                ? refuseCoarse()
                : refuse("too noisy", "more units: the ranks differ, but the medians' interval does not exclude 1")
        }
        let reach = row.ratio.map { max($0.high / $0.estimate, $0.estimate / $0.low) }
        guard let reach, reach > Self.widest else { return }
        if isCoarse { return refuseCoarse() }
        let units = units(row, evidence)
        let excess = Statistics.logarithm(reach) / Statistics.logarithm(Self.widest)
        let factor = excess * excess
        let needed = Int((Double(units) * min(1000, factor)).rounded(.up))
        let help =
            evidence.method == .run
            ? "about \(max(units + 1, needed)) --rounds, or a longer --duration on a quieter machine"
            : "a window about \(PlainText.number(min(1000, factor), places: 1)) times as long, or more workers"
        refuse("too noisy", help)
    }

    /// What would make the test as sure as the interval.
    private func proof(_ row: Row, _ evidence: Evidence) -> String {
        let units = units(row, evidence)
        let correction = (row.adjustedP ?? 1) / (row.p ?? 1)
        let needed = Statistics.unitsNeeded(units: units, p: row.p ?? 1, limit: Self.significance / correction)
        let help =
            switch evidence.method {
            case .run: "about \(needed) --rounds"
            case .workers: "about \(needed) workers a side, or a longer window"
            case .stretches:
                "a window about \(PlainText.number(Double(needed) / Double(units), places: 1)) times as long"
            }
        return """
            the interval excludes equality, as that of one in twenty quantities does by chance; \(help) would tell
            """
    }

    private func units(_ row: Row, _ evidence: Evidence) -> Int {
        let measured = measured(row, evidence)
        return min(measured?.baseline.units.count ?? 0, measured?.candidate.units.count ?? 0)
    }

    private func measured(_ row: Row, _ evidence: Evidence) -> Evidence.Measured? {
        evidence.measured.first { $0.quantity.name == row.quantity.name }
    }

    /// Whether it is the buckets that make the interval wide.
    private func isCoarse(_ row: Row, _ evidence: Evidence) -> Bool {
        guard let measured = measured(row, evidence), measured.baseline.lows != nil else { return false }
        let values = measured.baseline
        return values.lowMedian <= 0 || values.highMedian / values.lowMedian > Self.widest
    }

    // MARK: The whole

    private func refusals(_ evidence: Evidence) -> [Report.Refusal] {
        var result: [Report.Refusal] = []
        let (a, b) = (evidence.baseline, evidence.candidate)
        func refuse(_ reason: String, _ remedy: String) {
            result.append(Report.Refusal(reason: reason, remedy: remedy))
        }
        if evidence.by == "backend", a.name != b.name, !a.backends.isEmpty, a.backends == b.backends {
            refuse(
                "both sides ran the backend \(a.backends.joined(separator: " and "))",
                evidence.method == .run
                    ? "the program does not read the variable; name the one that it reads: --set-backend 'MAILER_BACKEND={}'"
                    : "compare deployments, or a deployment with canaries of another backend")
        }
        for side in [a, b] where side.backends.count > 1 && evidence.by == "backend" {
            refuse(
                "\(side.name) ran several backends: \(side.backends.joined(separator: ", "))",
                "give each side one backend for the whole measurement")
        }
        for side in [a, b]
        where side.backends.count == 1 && side.backends != [side.name] && evidence.by == "backend"
            && ["cooperative", "threading"].contains(side.name) && a.backends != b.backends
        {
            refuse(
                "\(side.name) was asked for, and \(side.backends[0]) ran",
                "name the variable that chooses the backend with --set-backend")
        }
        if evidence.by == "backend", a.versions != b.versions, !a.versions.isEmpty, !b.versions.isEmpty {
            refuse(
                """
                the sides ran different versions of Muster: \(a.versions.joined(separator: ", ")) and \
                \(b.versions.joined(separator: ", "))
                """, "deploy one version on both sides, or compare the versions: --by version")
        }
        for side in [a, b] where side.versions.count > 1 {
            refuse(
                "\(side.name) ran several versions within the window: \(side.versions.joined(separator: ", "))",
                "choose a window without a deployment: --window, --end")
        }
        if evidence.method == .run, Set(a.workers) != Set(b.workers) {
            refuse(
                "the sides had different numbers of workers: \(list(a.workers)) and \(list(b.workers))",
                "give the program the same number of workers on both sides")
        }
        for side in [a, b] where side.missing > 0.5 {
            refuse(
                "\(PlainPercent.text(side.missing)) of \(side.name)'s samples are missing",
                """
                if it is younger than the window, use a shorter --window; otherwise see whether Prometheus could scrape \
                it: up{}, and the page Targets
                """)
        }
        return result
    }

    private func notes(_ evidence: Evidence) -> [String] {
        var result: [String] = []
        let (a, b) = (evidence.baseline, evidence.candidate)
        if a.name == b.name { result.append("both sides are \(a.name): differences are chance") }
        func confound(_ what: String, _ first: [String], _ second: [String]) {
            guard !first.isEmpty, !second.isEmpty, first != second else { return }
            result.append(
                """
                the sides ran different \(what) as well, \(first.joined(separator: ", ")) and \
                \(second.joined(separator: ", ")): a difference may come from that
                """)
        }
        if evidence.by != "backend" {
            confound("backends", a.backends, b.backends)
            if evidence.by != "version" { confound("versions of Muster", a.versions, b.versions) }
        }
        for side in [a, b] {
            if side.missing > 0.05, side.missing <= 0.5 {
                result.append("\(PlainPercent.text(side.missing)) of \(side.name)'s samples are missing")
            }
            for (reason, count) in side.restarts.sorted(by: { $0.key < $1.key }) where count > 0 {
                result.append("\(side.name): \(PlainText.count(count, "restart")) of workers, reason \(reason)")
            }
            if side.healthFlaps > 0 {
                result.append("\(side.name): health checks changed \(PlainText.count(side.healthFlaps, "time"))")
            }
            if let saturation = side.saturation { result.append("\(side.name) was saturated: \(saturation)") }
        }
        if evidence.method != .run, let first = a.workers.first, let second = b.workers.first, first != second {
            result.append(
                """
                \(a.name) has \(PlainText.count(first, "worker")), \(b.name) \(second): values are those of one worker, \
                and the sides' sums say nothing
                """)
        }
        if evidence.method == .stretches {
            result.append(
                """
                a side has fewer than \(Self.fewestUnits) workers, so stretches of time are the units: what is peculiar \
                to a worker, its machine for example, counts as its side's
                """)
        }
        return result
    }

    private func list(_ numbers: [Int]) -> String {
        Set(numbers).sorted().map { "\($0)" }.joined(separator: ", ")
    }
}
