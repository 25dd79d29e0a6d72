// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster
import MusterMetrics

extension Benchmark {
    private static let backends: [BackendType] = [.cooperative, .threading]

    static func restarts(_ effort: Effort) throws -> [Figure] {
        let spawning = try Supervised.reference(.spawn, workers: 1)
        let forking = try Supervised.reference(.fork, workers: 1)
        let cold = try backends.map { try Supervised.muster(SupervisedProgram(backend: $0, workers: 1)) }
        let warm = try backends.map { try Supervised.muster(SupervisedProgram(backend: $0, workers: 1, spares: 1)) }
        let all = [spawning, forking] + cold + warm
        defer { for supervised in all { supervised.end() } }
        let times = try Rounds.run(
            effort(101, quick: 21), all.map { supervised in { try supervised.killWorker() } })
        let colds = backends.indices.map { index in
            Figure(
                "SIGKILL to the first line, \(backends[index])", in: .nanoseconds, times[2 + index],
                against: ("posix_spawn in C", times[0]), limit: .ratioAtMost(3))
        }
        let warms = backends.indices.map { index in
            Figure(
                "with a warm spare, \(backends[index])", in: .nanoseconds, times[2 + backends.count + index],
                against: ("fork in C", times[1]), limit: .ratioAtMost(1))
        }
        return colds + warms
    }

    static func stops(_ effort: Effort) throws -> [Figure] {
        let workers = 4
        let contenders: [() throws -> Supervised] =
            backends.map { backend in
                { try Supervised.muster(SupervisedProgram(backend: backend, workers: workers)) }
            } + [{ try Supervised.reference(.spawn, workers: workers) }]
        let times = try Rounds.run(effort(31, quick: 7), contenders.map { start in { try start().terminate() } })
        return zip(backends, times).map { backend, values in
            Figure(
                "SIGTERM to the end, \(workers) workers, \(backend)", in: .nanoseconds, values,
                against: ("the same in C", times[backends.count]), limit: .valueAtMost(10_000_000))
        }
    }

    static func idleWorkers(_ effort: Effort) throws -> [Figure] {
        let workers = 4
        let seconds = effort(20, quick: 5)
        let reference = try Supervised.reference(.spawn, workers: workers)
        let contenders = try backends.map { try Supervised.muster(SupervisedProgram(backend: $0, workers: workers)) }
        defer { for supervised in contenders + [reference] { supervised.end() } }
        // What follows the start is over then: threads without a job end after 10 s, and the supervisor's first look
        // at its workers comes after the limit for hangs, 10 s, too.
        sleep(15)
        let before = try contenders.map { try Activity(of: $0) }
        sleep(UInt32(seconds))
        let after = try contenders.map { try Activity(of: $0) }
        let bare = reference.workers.map { ProcessFigures(pid: $0) }
        return backends.indices.flatMap { index in
            let backend = backends[index]
            let processes = contenders[index].workers.map { ProcessFigures(pid: $0) }
            let threads = Set(processes.map(\.threads)).sorted().map { "\($0)" }.joined(separator: " or ")
            let (before, after) = (before[index], after[index])
            return [
                Figure(
                    "proportional memory of a worker, \(backend)", in: .bytes, processes.map(\.proportionalMemory),
                    against: ("a worker in C", bare.map(\.proportionalMemory)), note: "threads: \(threads)"),
                Figure(
                    "private dirty memory of a worker, \(backend)", in: .bytes, processes.map(\.privateDirtyMemory),
                    against: ("a worker in C", bare.map(\.privateDirtyMemory))),
                Figure(
                    "wakings of \(workers) workers, \(seconds) s, \(backend)", in: .times,
                    [Double(after.workerWaits - before.workerWaits)], limit: .valueAtMost(0)),
                Figure(
                    "wakings of their supervisor, \(backend)", in: .times,
                    [Double(after.supervisorWaits - before.supervisorWaits)], limit: .valueAtMost(0)),
                Figure(
                    "processor time of all five, \(backend)", in: .nanoseconds,
                    [Double(after.processorTime - before.processorTime)], limit: .valueAtMost(1_000_000)),
            ]
        }
    }

    /// What a supervisor and its workers have done so far.
    private struct Activity {
        let workerWaits: Int
        let supervisorWaits: Int
        let processorTime: Int64

        init(of supervised: Supervised) throws {
            let workers = supervised.workers.map { ProcessFigures(pid: $0) }
            let supervisor = ProcessFigures(pid: supervised.pid)
            workerWaits = workers.reduce(0) { $0 + $1.waits }
            supervisorWaits = supervisor.waits
            processorTime = try (workers + [supervisor]).reduce(0) { try $0 + $1.processorTime }
        }
    }

    static func workerScrapes(_ effort: Effort) throws -> [Figure] {
        try LoadGenerator.requireInstalled()
        let workers = 4
        let series = 10_000
        let supervised = try Supervised.muster(
            SupervisedProgram(backend: .cooperative, workers: workers, series: series))
        defer { supervised.end() }
        let url = "http://127.0.0.1:\(supervised.port)/metrics"
        let body = try HTTPDocument.body(port: supervised.port, path: "/metrics")
        guard ExpositionLines(body).valueCount >= workers * series else { throw BenchmarkError("series are missing") }
        let server = try StaticServer(body: body)
        defer { server.stop() }
        let seconds = effort(2, quick: 1)
        let rounds = try Rounds.run(
            effort(5, quick: 2),
            [
                { try LoadGenerator.run(url: url, seconds: seconds) },
                { try LoadGenerator.run(url: server.url, seconds: seconds) },
                { try LoadGenerator.run(url: url, seconds: seconds, connections: 1) },
                { try LoadGenerator.run(url: server.url, seconds: seconds, connections: 1) },
            ])
        let reference = "the same bytes, static"
        return [
            try renderings(of: exposition(series: series, workers: workers), series: workers * series, effort),
            Figure(
                "/metrics of \(body.count / 1024) KiB", in: .perSecond, rounds[0].map(\.requestsPerSecond),
                against: (reference, rounds[1].map(\.requestsPerSecond)), limit: .ratioAtLeast(0.6)),
            Figure(
                "time of a scrape, one after the other", in: .nanoseconds, rounds[2].map(\.medianTime),
                against: (reference, rounds[3].map(\.medianTime))),
        ]
    }
}
