// SPDX-License-Identifier: Apache-2.0

import MusterCompare
import Testing

@Suite struct JudgeTests {
    private func quantity(_ name: String) throws -> Quantity {
        try #require(Measure.all.first { $0.quantity.name == name }?.quantity)
    }

    private func values(_ units: Units) -> Evidence.Values {
        Evidence.Values(units.map { $0.map { Observation($0) } })
    }

    /// A comparison of the duration of requests, milliseconds.
    private func evidence(
        ratio: Double = 1, units: Int = 5, name: String = "request_duration_mean", seed: UInt64 = 1,
        change: (inout Evidence) throws -> Void = { _ in }
    ) throws -> Evidence {
        var simulation = Simulation(seed: seed)
        let a = simulation.side(units: units, blocks: 8, resemblance: 0.1, scale: 0.01)
        let b = simulation.side(units: units, blocks: 8, resemblance: 0.1, ratio: ratio, scale: 0.01)
        var baseline = Evidence.Side(name: "cooperative")
        var candidate = Evidence.Side(name: "threading")
        baseline.backends = ["cooperative"]
        candidate.backends = ["threading"]
        var evidence = Evidence(
            method: .run, by: "backend", setting: [], baseline: baseline, candidate: candidate,
            measured: [.init(quantity: try quantity(name), baseline: values(a), candidate: values(b))], notes: [])
        try change(&evidence)
        return evidence
    }

    private func row(_ evidence: Evidence) throws -> Row {
        try #require(Judge(relevant: 0.05, conditions: []).report(evidence).rows.first)
    }

    @Test("Twice as long is worse, half as long better, with the truth in the interval", arguments: [2.0, 1.2, 0.5])
    func direction(ratio: Double) throws {
        let row = try row(evidence(ratio: ratio))
        #expect(row.outcome == (ratio > 1 ? .worse : .better))
        let interval = try #require(row.ratio)
        #expect(interval.low <= ratio && ratio <= interval.high)
    }

    @Test("A change is told in percent, or as ratios where one of them is large")
    func changes() throws {
        var row = Row(quantity: try quantity("cpu"), outcome: .alike)
        row.ratio = Statistics.Interval(estimate: 1.2, low: 0.9, high: 1.5)
        #expect(row.changeText == "+20 % [-10 %, +50 %]")
        row.ratio = Statistics.Interval(estimate: 1.2, low: 0.4, high: 1.5)
        #expect(row.changeText == "1.2x [0.4x, 1.5x]")
    }

    @Test("More requests a second are better, more threads only different")
    func directions() throws {
        #expect(try row(evidence(ratio: 2, name: "requests")).outcome == .better)
        let threads = try evidence(ratio: 2, name: "threads") { evidence in
            let values = { (count: Double) in
                Evidence.Values((0..<5).map { _ in (0..<8).map { Observation(count + Double($0 % 2)) } })
            }
            evidence.measured[0].baseline = values(2)
            evidence.measured[0].candidate = values(9)
        }
        #expect(try row(threads).outcome == .differs)
    }

    @Test("Sides without a difference are alike")
    func alike() throws {
        let row = try row(evidence())
        #expect(row.outcome == .alike && row.word == "~")
    }

    @Test("A certain difference that is too small to matter is none")
    func irrelevant() throws {
        let small = try evidence { evidence in
            let values = { (value: Double) in
                Evidence.Values(
                    (0..<6).map { unit in (0..<8).map { Observation(value + Double(unit * 8 + $0) * 1e-6) } })
            }
            evidence.measured[0].baseline = values(0.0100)
            evidence.measured[0].candidate = values(0.0103)
        }
        #expect(try row(small).outcome == .alike)
    }

    @Test("A large change of a small value is told to be below what matters")
    func belowTheFloor() throws {
        let small = try row(
            evidence(ratio: 2) { evidence in
                let values = { (value: Double) in
                    Evidence.Values(
                        (0..<6).map { unit in (0..<8).map { Observation(value + Double(unit * 8 + $0) * 1e-8) } })
                }
                evidence.measured[0].baseline = values(7e-6)
                evidence.measured[0].candidate = values(14e-6)
            })
        #expect(small.outcome == .alike && small.word == "~ below 20 µs")
    }

    @Test("Three runs a side are too few, and the row says how many are needed")
    func tooFew() throws {
        let row = try row(evidence(ratio: 2, units: 3))
        #expect(row.outcome == .noVerdict && row.reason == "too few points")
        #expect(row.remedy?.contains("3 of 5 runs") == true)
    }

    /// A relevant difference whose interval excludes 1, among nineteen quantities that are alike.
    private func unproved(_ method: Evidence.Method = .run) throws -> Report {
        Judge(relevant: 0.05, conditions: [try Condition(parsing: "threads differs", names: ["threads"])]).report(
            try evidence { evidence in
                evidence.method = method
                let threads = { (count: Double) in Evidence.Values((0..<5).map { _ in [Observation(count)] }) }
                let alike = Evidence.Values((0..<5).map { [Observation(Double($0 + 100))] })
                evidence.measured = Measure.all.prefix(19).map {
                    .init(quantity: $0.quantity, baseline: alike, candidate: alike)
                }
                evidence.measured.append(
                    .init(quantity: try quantity("threads"), baseline: threads(2), candidate: threads(14)))
            })
    }

    @Test("A difference that the interval shows and the corrected test does not is not called alike in any format")
    func notProved() throws {
        let report = try unproved()
        let row = try #require(report.rows.last)
        #expect(row.outcome == .noVerdict && row.word == "not proved")
        #expect((row.adjustedP ?? 0) > 0.05 && (row.ratio?.low ?? 0) > 1)
        #expect(report.summary.contains("1 without a verdict"))
        #expect(report.conditions.map(\.outcome) == [.undecided])
        let remedies = report.remedies.filter { $0.names == ["threads"] && $0.reason == "not proved" }
        #expect(remedies.count == 1)
        // Twenty times 2 of C(12, 6) = 924 ways is 0.043.
        #expect(remedies.first?.remedy.contains("about 6 --rounds would tell") == true, "\(remedies)")
        for text in [try report.json(), report.markdown(), report.html()] {
            #expect(text.contains("not proved") && text.contains("about 6 --rounds would tell"))
        }
    }

    @Test(
        "From Prometheus more workers would prove it, or a longer window",
        arguments: [Evidence.Method.workers, .stretches])
    func notProvedByPrometheus(method: Evidence.Method) throws {
        let remedy = try #require(try unproved(method).rows.last?.remedy)
        #expect(remedy.contains(method == .workers ? "about 6 workers a side" : "a window about 1.2 times as long"))
    }

    @Test("Values that scatter widely get no verdict, and a number of rounds that would help")
    func tooNoisy() throws {
        let noisy = try evidence { evidence in
            evidence.measured[0].baseline = values([[0.01], [0.05], [0.002], [0.03], [0.001]])
            evidence.measured[0].candidate = values([[0.02], [0.004], [0.06], [0.001], [0.03]])
        }
        let row = try row(noisy)
        #expect(row.outcome == .noVerdict && row.reason == "too noisy")
        #expect(row.remedy?.contains("--rounds") == true)
    }

    @Test("A saturated side has no verdict on waiting, but one on throughput")
    func saturated() throws {
        let saturate = { (evidence: inout Evidence) in
            evidence.candidate.saturation = "97 % of the processors were busy"
        }
        let lateness = try row(evidence(ratio: 2, change: saturate))
        #expect(lateness.outcome == .noVerdict && lateness.reason == "threading saturated")
        #expect(try row(evidence(ratio: 2, name: "requests", change: saturate)).outcome == .better)
    }

    @Test("Quantiles from buckets of more than their difference in width get no verdict")
    func coarseBuckets() throws {
        let coarse = try evidence { evidence in
            let values = { (value: Double) in
                Evidence.Values(
                    (0..<5).map { unit in
                        (0..<8).map { Observation(value + Double(unit * 8 + $0) * 1e-6, 0.01, 0.025) }
                    })
            }
            evidence.measured[0].baseline = values(0.012)
            evidence.measured[0].candidate = values(0.02)
        }
        let row = try row(coarse)
        #expect(row.outcome == .noVerdict && row.reason == "buckets too wide")
        let interval = try #require(row.ratio)
        #expect(interval.low <= 0.4 && interval.high >= 2.5)
    }

    @Test("One backend on both sides refuses every verdict, and says which variable to name")
    func sameBackend() throws {
        let report = Judge(relevant: 0.05, conditions: []).report(
            try evidence(ratio: 2) { $0.candidate.backends = ["cooperative"] })
        #expect(report.rows.allSatisfy { $0.outcome == .noVerdict })
        #expect(report.refusals.first?.reason == "both sides ran the backend cooperative")
        #expect(report.refusals.first?.remedy.contains("--set-backend") == true)
        #expect(report.summary.contains("both sides ran the backend cooperative"))
    }

    @Test("Other workers, other versions and lost samples refuse verdicts too", arguments: 0..<4)
    func refusals(index: Int) throws {
        let report = Judge(relevant: 0.05, conditions: []).report(
            try evidence(ratio: 2) { evidence in
                switch index {
                case 0: (evidence.baseline.workers, evidence.candidate.workers) = ([4, 4], [4, 3])
                case 1: (evidence.baseline.versions, evidence.candidate.versions) = (["0.1.0"], ["0.2.0"])
                case 2: evidence.candidate.versions = ["0.1.0", "0.2.0"]
                default: evidence.baseline.missing = 0.7
                }
            })
        let words = ["numbers of workers", "different versions", "several versions", "70 % of cooperative"][index]
        #expect(report.refusals.contains { $0.reason.contains(words) }, "\(report.refusals)")
        #expect(report.rows.allSatisfy { $0.outcome == .noVerdict })
    }

    @Test("A quantity of one side says whose data are missing")
    func oneSided() throws {
        let row = try row(evidence { $0.measured[0].candidate = values([]) })
        #expect(row.outcome == .noData && row.word == "no data from threading")
    }

    @Test("Restarts and flaps are told")
    func notes() throws {
        let report = Judge(relevant: 0.05, conditions: []).report(
            try evidence { evidence in
                evidence.candidate.restarts = ["signal": 2]
                evidence.baseline.healthFlaps = 1
            })
        #expect(report.notes.contains("threading: 2 restarts of workers, reason signal"))
        #expect(report.notes.contains("cooperative: health checks changed 1 time"))
    }

    @Test("What the sides differ in besides is told")
    func confounded() throws {
        let report = Judge(relevant: 0.05, conditions: []).report(
            try evidence { evidence in
                evidence.by = "zone"
                (evidence.baseline.versions, evidence.candidate.versions) = (["0.1.0"], ["0.2.0"])
            })
        #expect(report.refusals.isEmpty)
        #expect(report.notes.contains { $0.contains("different backends as well, cooperative and threading") })
        #expect(report.notes.contains { $0.contains("different versions of Muster as well, 0.1.0 and 0.2.0") })
    }

    @Test("Twenty identical comparisons of twenty quantities give at most one with a verdict other than alike")
    func identicalSides() throws {
        let wrong = try (0..<20).count { run in
            var simulation = Simulation(seed: UInt64(100 + run))
            let quantities = Measure.all.prefix(20).map(\.quantity)
            var evidence = try evidence()
            evidence.measured = quantities.map { quantity in
                Evidence.Measured(
                    quantity: quantity,
                    baseline: values(simulation.side(units: 5, blocks: 4, resemblance: 0.3)),
                    candidate: values(simulation.side(units: 5, blocks: 4, resemblance: 0.3)))
            }
            return Judge(relevant: 0.05, conditions: []).report(evidence).rows
                .contains { $0.outcome == .better || $0.outcome == .worse || $0.outcome == .differs }
        }
        #expect(wrong <= 1)
    }
}
