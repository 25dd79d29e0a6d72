// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Muster
import MusterExecution

extension Benchmark {
    static func lateness(_ effort: Effort) throws -> [Figure] {
        try lateness(interval: 1_000_000, count: effort(400, quick: 200), rounds: effort(11, quick: 4))
            + lateness(interval: 10_000_000, count: effort(80, quick: 40), rounds: effort(11, quick: 4))
    }

    private static func lateness(interval: Int64, count: Int, rounds: Int) throws -> [Figure] {
        let hub = try WitnessedLoop(.cooperative)
        defer { hub.shutDown() }
        let threads = try WitnessedLoop(.threading)
        defer { threads.shutDown() }
        var slack: Int64 = 0
        let samples = try Rounds.run(
            rounds,
            [
                { try hub.run(interval: interval, count: count).latenesses },
                { try threads.run(interval: interval, count: count).latenesses },
                {
                    let (grid, reached) = try BareLoop.start(interval: interval, count: count, slack: 1)()
                    slack = reached
                    return grid.latenesses
                },
                { try BareLoop.start(interval: interval, count: count, slack: BareLoop.defaultSlack)().0.latenesses },
            ])
        let medians = samples.map { $0.map { Statistics.quantile(0.5, of: $0) } }
        let tails = samples.map { Unit.nanoseconds.text(Statistics.quantile(0.99, of: $0.joined())) }
        let reference = (name: "clock_nanosleep, timer slack \(slack) ns", values: medians[2])
        let label = Unit.nanoseconds.text(Double(interval))
        return [
            Figure(
                "median, \(label), cooperative", in: .nanoseconds, medians[0], against: reference,
                limit: .ratioAtMost(1.5), note: "p99 \(tails[0]), reference \(tails[2])"),
            Figure(
                "median, \(label), threading", in: .nanoseconds, medians[1], against: reference,
                limit: .ratioAtMost(1.5), note: "p99 \(tails[1]), reference \(tails[2])"),
            Figure(
                "median, \(label), C with default slack", in: .nanoseconds, medians[3], against: reference,
                note: "p99 \(tails[3]), reference \(tails[2])"),
        ]
    }

    static func drift(_ effort: Effort) throws -> [Figure] {
        let interval: Int64 = 10_000_000
        let count = effort(2000, quick: 400)
        // `burst` makes each start up, as the reference does; `delay`, the default, counts on from where it is after
        // an overrun and when it was held up for more than a second.
        let contenders: [(type: BackendType, overrun: OverrunPolicy)] = [
            (.cooperative, .burst), (.threading, .burst), (.cooperative, .delay), (.threading, .delay),
        ]
        let loops = try contenders.map { try WitnessedLoop($0.type, overrun: $0.overrun) }
        defer { for loop in loops { loop.shutDown() } }
        // All at the same time, so that they suffer from the same neighbours.
        let endOfReference = try BareLoop.start(interval: interval, count: count, slack: 1)
        let ends = try loops.map { try $0.start(interval: interval, count: count) }
        let reference = try endOfReference().0
        let grids = try ends.map { try $0() }
        let seconds = Text.fixed(Double(interval) * Double(count) / 1e9, digits: 0)
        return zip(contenders, grids).flatMap { contender, grid in
            let label = "\(contender.type), \(contender.overrun)"
            let slip = Unit.nanoseconds.text(Double(grid.slipped))
            return [
                Figure(
                    "after \(seconds) s of 10 ms, \(label)", in: .nanoseconds, [grid.endDrift],
                    against: ("clock_nanosleep, absolute", [reference.endDrift]), isRatioMeaningful: false,
                    limit: .valueAtMost(Double(interval)),
                    note: grid.slipped == 0
                        ? nil : "held up by the machine; the grid was moved by \(slip) in all"),
                Figure(
                    "second half minus first, \(label)", in: .nanoseconds, [grid.driftGrowth],
                    against: ("clock_nanosleep, absolute", [reference.driftGrowth]), isRatioMeaningful: false,
                    limit: .valueAtMost(Double(interval) / 100)),
            ]
        }
    }
}
