// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster
import Synchronization

/// Muster, and Swift alone, under the contract of `scripts/peers/bench`, and of `scripts/curves`: `PEER_TASK` says what to do, `PEER_KIND` how.
@main
struct MusterPeer {
    static func main() async throws {
        let kind = try Setting.text("PEER_KIND")
        let task = try Setting.text("PEER_TASK")
        if kind == "tasks" {
            switch task {
            case "loops": return try await loopInTasks()
            default: return try await spawnTasks()
            }
        }
        Backend.registerDefaultHook { BackendType(kind) }
        let workers = try Setting.number("PEER_WORKERS")
        ExitStatus {
            switch task {
            case "loops": return try launch(Loops()).wait()
            case "jobs": return try launch(Jobs()).wait()
            case "waiting": return try launch(WaitingJobs()).wait()
            case "series": return try run(Series(), workers: workers)
            default: return try run(Idle(), workers: workers)
            }
        }.exit()
    }

    /// A single worker is a process without a supervisor, unless one was asked for.
    private static func run(_ service: some ServiceBase, workers: Int) throws -> ExitStatus {
        if getenv("PEER_SUPERVISED") == nil { return try launch(service, workers: workers).wait() }
        let launcher = try ProcessLauncher(settings: .load())
        try launcher.launchService(service, workers: workers)
        return launcher.wait()
    }

    /// A loop that sleeps until the next point of its grid, by Swift's own clock.
    private static func loopInTasks() async throws {
        let measurement = try LoopMeasurement()
        for record in measurement.records {
            Task.detached {
                var due = ContinuousClock.now
                record.add()
                while true {
                    due += measurement.interval
                    try await Task.sleep(until: due, tolerance: .zero, clock: .continuous)
                    record.add()
                }
            }
        }
        try await Task.sleep(for: measurement.length)
        measurement.finish()
    }

    private static func spawnTasks() async throws {
        let count = try Setting.number("PEER_JOBS")
        for _ in 0..<5 {
            let start = monotonic()
            await withDiscardingTaskGroup { group in
                for _ in 0..<count { group.addTask {} }
            }
            log("\((monotonic() - start) / Int64(count))")
        }
    }
}

private struct Loops: ServiceBase {
    let name = "loops"
    let threadGroup = ThreadGroup(name: "loops")

    func start() async throws {
        let measurement = try LoopMeasurement()
        for record in measurement.records {
            try threadGroup.addTimer(name: "loop", interval: measurement.interval) { record.add() }
        }
        try await threadGroup.addThread(name: "end") {
            try await Backend.current.engine.sleep(for: measurement.length)
            measurement.finish()
        }
    }
}

private struct Jobs: ServiceBase {
    let name = "jobs"
    let threadGroup = ThreadGroup(name: "jobs")

    func start() async throws {
        let count = try Setting.number("PEER_JOBS")
        try await threadGroup.addThread(name: "spawner") {
            for _ in 0..<5 {
                let group = ThreadGroup(name: "spawned", capacity: count)
                let start = monotonic()
                for _ in 0..<count { try group.tryAddThread(name: "job") {} }
                try await group.wait()
                log("\((monotonic() - start) / Int64(count))")
            }
            exit(0)
        }
    }
}

/// As many jobs as asked for, all alive at once. The log gets the nanoseconds until all wait and, `PEER_SECONDS` later,
/// until all have ended.
private struct WaitingJobs: ServiceBase {
    let name = "waiting"
    let threadGroup = ThreadGroup(name: "waiting")

    func start() async throws {
        let count = try Setting.number("PEER_JOBS")
        let capacity = (try? Setting.number("PEER_CAPACITY")) ?? count + 1
        let seconds = try Setting.number("PEER_SECONDS")
        try await threadGroup.addThread(name: "spawner") {
            let gate = try threadGroup.tryAddThread(name: "gate") {
                try await Backend.current.engine.sleep(for: .seconds(3600))
            }
            let group = ThreadGroup(name: "spawned", capacity: capacity)
            let start = monotonic()
            for _ in 0..<count { try group.tryAddThread(name: "job") { try? await gate.wait() } }
            // Behind all of them in the queue of the hub.
            try await group.tryAddThread(name: "last") {}.wait()
            log("\(monotonic() - start)")
            try await Backend.current.engine.sleep(for: .seconds(seconds))
            let end = monotonic()
            gate.cancel()
            try await group.wait()
            log("\(monotonic() - end)")
            exit(0)
        }
    }
}

private struct Series: ServiceBase {
    let name = "series"
    let threadGroup = ThreadGroup(name: "series")

    func start() async throws {
        let count = try Setting.number("PEER_SERIES")
        let family = try MetricRegistry.shared.counterFamily(
            "requests_total", help: "Requests handled.", labelNames: ["path"],
            seriesLimit: max(20_000, count))
        for number in 0..<count { family.labels("/api/v1/resource/\(number)").increment(by: number) }
        log("\(getpid()) \(monotonic())")
    }
}

private struct Idle: ServiceBase {
    let name = "idle"
    let threadGroup = ThreadGroup(name: "idle")

    func start() async throws {
        log("\(getpid()) \(monotonic())")
        if getenv("PEER_CRASHES") != nil { _exit(1) }
        guard let hang = getenv("PEER_HANG").map({ String(cString: $0) }) else { return }
        try threadGroup.addTimer(name: "work", interval: .seconds(1)) {
            guard unlink(hang) == 0 else { return }
            while true { pause() }
        }
    }
}

/// What one run of looping calls is asked for, and its records.
private struct LoopMeasurement: Sendable {
    let interval: Duration
    let length: Duration
    let records: [Record]

    init() throws {
        let nanoseconds = try Setting.number("PEER_INTERVAL")
        let seconds = try Setting.number("PEER_SECONDS")
        interval = .nanoseconds(nanoseconds)
        length = .seconds(seconds)
        records = try (0..<Setting.number("PEER_LOOPS")).map { _ in
            Record(capacity: seconds * 1_000_000_000 / nanoseconds + 16)
        }
    }

    func finish() -> Never {
        for (number, record) in records.enumerated() {
            log(record.instants.map { "\(number) \($0)" }.joined(separator: "\n"))
        }
        exit(0)
    }
}

private final class Record: Sendable {
    private let values = Mutex<[Int64]>([])

    init(capacity: Int) { values.withLock { $0.reserveCapacity(capacity) } }

    var instants: [Int64] { values.withLock { $0 } }

    func add() {
        let instant = monotonic()
        values.withLock { $0.append(instant) }
    }
}

private enum Setting {
    struct Missing: Error, CustomStringConvertible {
        let name: String
        var description: String {
            "\(name) is not set, or no number: this program is run by scripts/peers/bench and scripts/curves"
        }
    }

    static func text(_ name: String) throws(Missing) -> String {
        guard let value = getenv(name) else { throw Missing(name: name) }
        return String(cString: value)
    }

    static func number(_ name: String) throws(Missing) -> Int {
        guard let value = Int(try text(name)), value > 0 else { throw Missing(name: name) }
        return value
    }
}

private func monotonic() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// Appends a line to the file that the harness reads.
private func log(_ line: String) {
    guard let path = getenv("PEER_LOG") else { return }
    let file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
    var line = line + "\n"
    line.withUTF8 { _ = write(file, $0.baseAddress, $0.count) }
    close(file)
}
