// SPDX-License-Identifier: Apache-2.0

import Glibc

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
            let first = SystemFile.read("/proc/stat").prefix { $0 != "\n" }
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
