// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Glibc
import MusterPlatform

/// Where and how busily a run took place.
struct Machine {
    let processors = sysconf(Int32(_SC_NPROCESSORS_ONLN))
    let kernel: String
    let model: String
    let load: MachineLoad

    /// The load from which on figures should not be taken for the machine's.
    static let quietLimit = 0.1

    init(load: MachineLoad) {
        self.load = load
        kernel = (SmallFile.beginning(of: "/proc/sys/kernel/osrelease") ?? "").filter { $0 != "\n" }
        let line = (SmallFile.beginning(of: "/proc/cpuinfo") ?? "").split(separator: "\n").first {
            $0.hasPrefix("model name")
        }
        model = line?.split(separator: ":").last.map { String($0.drop { $0 == " " }) } ?? "unknown"
    }

    var isQuiet: Bool { load.others + load.stolen < Self.quietLimit }
}

/// What kept the machine's processors busy for a while, in processors: 1.0 is one of them all the time.
struct MachineLoad {
    /// This process and the load generators that it has started.
    var own: Double
    /// All other processes.
    var others: Double
    /// What a hypervisor gave to other machines.
    var stolen: Double

    /// Measures from its creation on.
    struct Meter {
        private let start = Sample()

        func read() -> MachineLoad {
            let end = Sample()
            let elapsed = max(end.instant - start.instant, 1e-9)
            let own = (end.own - start.own) / elapsed
            return MachineLoad(
                own: own, others: max(0, (end.busy - start.busy) / elapsed - own),
                stolen: max(0, (end.stolen - start.stolen) / elapsed))
        }
    }

    /// Totals in seconds.
    private struct Sample {
        let instant: Double
        let busy: Double
        let stolen: Double
        let own: Double

        init() {
            var now = timespec()
            clock_gettime(CLOCK_MONOTONIC, &now)
            instant = Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
            // proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal.
            let first = (SmallFile.beginning(of: "/proc/stat") ?? "").prefix { $0 != "\n" }
            let ticks = first.split(separator: " ").dropFirst().compactMap { Double($0) }
            let tick = Double(max(1, sysconf(Int32(_SC_CLK_TCK))))
            if ticks.count >= 8 {
                busy = (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / tick
                stolen = ticks[7] / tick
            } else {
                busy = 0
                stolen = 0
            }
            own = Self.used(by: RUSAGE_SELF) + Self.used(by: RUSAGE_CHILDREN)
        }

        private static func used(by who: __rusage_who) -> Double {
            var usage = rusage()
            getrusage(__rusage_who_t(who.rawValue), &usage)
            return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
                + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
        }
    }
}

/// The process' memory.
enum ResidentMemory {
    /// The bytes resident now.
    static func bytes() -> Int {
        let fields = (SmallFile.beginning(of: "/proc/self/statm") ?? "").split(separator: " ")
        guard fields.count > 1, let pages = Int(fields[1]) else { return 0 }
        return pages * sysconf(Int32(_SC_PAGESIZE))
    }

    /// Gives freed memory back, so that what is allocated next is seen in ``bytes()``.
    static func trim() {
        cmusterbench_trim_memory()
    }
}

/// The process' native threads.
enum ThreadCount {
    /// How many there are.
    static var now: Int {
        // proc_pid_stat(5): behind the name in parentheses, num_threads is the eighteenth field.
        let line = (SmallFile.beginning(of: "/proc/self/stat") ?? "")
        guard let name = line.lastIndex(of: ")") else { return 0 }
        let fields = line[name...].split(separator: " ")
        return fields.count > 18 ? Int(fields[18]) ?? 0 : 0
    }

    /// Waits until threads that are about to end have ended, at most five seconds: until then their memory is theirs.
    static func wait(untilAtMost limit: Int) {
        for _ in 0..<500 {
            if now <= limit { return }
            usleep(10_000)
        }
    }
}

/// Programs that `make bench` puts beside this executable.
enum BesideThis {
    static func path(of name: String) throws -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = max(0, readlink("/proc/self/exe", &buffer, buffer.count))
        let own = String(decoding: buffer[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
        let path = String(own[..<(own.lastIndex(of: "/") ?? own.startIndex)]) + "/" + name
        guard access(path, X_OK) == 0 else { throw BenchmarkSkipped("it needs \(path), which `make bench` builds") }
        return path
    }
}

/// The reference in Go, which `make bench` builds where there is a Go compiler.
enum GoReference {
    /// What is told where it is missing.
    static let missing = "no comparison with Go: no muster-bench-go"

    static var isBuilt: Bool { (try? BesideThis.path(of: "muster-bench-go")) != nil }

    /// Runs it, and returns the numbers that it writes.
    static func run(_ arguments: String...) throws -> [Double] {
        let path = try BesideThis.path(of: "muster-bench-go")
        let text = try LoadGenerator.output([path] + arguments)
        let numbers = text.split { $0 == " " || $0 == "\n" }.compactMap { Double($0) }
        guard !numbers.isEmpty else {
            throw BenchmarkError("muster-bench-go wrote something else than numbers: \(text)")
        }
        return numbers
    }
}
