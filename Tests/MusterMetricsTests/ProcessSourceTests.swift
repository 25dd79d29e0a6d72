// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterMetrics
import MusterPlatform
import Testing

@Suite("Process metrics")
struct ProcessSourceTests {
    @Test("The calling process shows all seven, with plausible values")
    func ownProcess() throws {
        let text = Exposition(sources: [ProcessSource()]).text(.text)
        let values = text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { $0.split(separator: " ") }
        #expect(
            values.map { String($0[0]) } == [
                "process_cpu_seconds_total", "process_max_fds", "process_open_fds", "process_resident_memory_bytes",
                "process_start_time_seconds", "process_threads", "process_virtual_memory_bytes",
            ])
        let statistics = ProcessStatistics()
        let started = try #require(statistics.startTimeSeconds)
        #expect(started > 1.6e9 && started < WallClock.secondsSinceEpoch + 2)
        #expect(try #require(statistics.threads) >= 1)
        #expect(try #require(statistics.openDescriptors) >= 3)
        let resident = try #require(statistics.residentMemoryBytes)
        let virtual = try #require(statistics.virtualMemoryBytes)
        #expect(resident > 1e6 && resident < virtual)
        #expect(try #require(statistics.cpuSeconds) > 0)
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        #expect(try #require(statistics.maximumDescriptors) == Double(limit.rlim_cur))
    }

    @Test("The process can be named by its number")
    func byNumber() {
        #expect(ProcessStatistics(pid: getpid()).startTimeSeconds == ProcessStatistics().startTimeSeconds)
    }

    @Test("A process that does not exist shows nothing")
    func absent() {
        #expect(Exposition(sources: [ProcessSource(pid: -1)]).text(.openMetrics) == "# EOF\n")
    }
}
