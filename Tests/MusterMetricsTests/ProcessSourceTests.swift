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
        let statistics = ProcessStatistics(pid: nil)
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
        #expect(ProcessStatistics(pid: getpid()).startTimeSeconds == ProcessStatistics(pid: nil).startTimeSeconds)
    }

    @Test("A descriptor that is opened is counted, and one that is closed is not any more")
    func descriptors() throws {
        // Others open and close descriptors meanwhile, so many are opened to be told from theirs.
        let sampler = ProcessSampler()
        let before = try #require(sampler.sample().openDescriptors)
        let opened = (0..<500).map { _ in dup(0) }.filter { $0 >= 0 }
        let during = try #require(sampler.sample().openDescriptors)
        for descriptor in opened { close(descriptor) }
        let after = try #require(sampler.sample().openDescriptors)
        #expect(during - before > 250 && during - after > 250)
    }

    @Test("Another process shows all that a supervisor tells of its workers, and nothing once it is gone")
    func otherProcess() throws {
        let before = WallClock.secondsSinceEpoch
        let child = try WaitingChild()
        let sampler = ProcessSampler(pid: child.pid)
        // Once it has read a byte it has done its loading.
        try child.exchangeByte()
        let statistics = sampler.sample()
        #expect(statistics.threads == 1)
        #expect(try #require(statistics.cpuSeconds) > 0)
        #expect(try #require(statistics.residentMemoryBytes) > 100_000)
        #expect(try #require(statistics.openDescriptors) >= 3)
        // The kernel tells the time of the machine's start in whole seconds, rounded down.
        let started = try #require(statistics.startTimeSeconds)
        #expect(started > before - 2 && started < WallClock.secondsSinceEpoch + 2)
        #expect(sampler.sample().startTimeSeconds == started)
        #expect(ProcessStatistics(pid: child.pid).startTimeSeconds == started)

        child.end()
        #expect(sampler.sample() == ProcessStatistics())
    }

    /// A process that echoes until its input ends.
    private final class WaitingChild {
        let pid: pid_t
        private var input: Int32
        private let output: Int32

        init() throws {
            var pid = pid_t()
            var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("cat"), nil]
            defer { free(arguments[0]) }
            var toChild: [Int32] = [0, 0]
            var fromChild: [Int32] = [0, 0]
            try #require(pipe(&toChild) == 0 && pipe(&fromChild) == 0)
            for descriptor in toChild + fromChild { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
            var actions = posix_spawn_file_actions_t()
            posix_spawn_file_actions_init(&actions)
            defer { posix_spawn_file_actions_destroy(&actions) }
            posix_spawn_file_actions_adddup2(&actions, toChild[0], 0)
            posix_spawn_file_actions_adddup2(&actions, fromChild[1], 1)
            try #require(posix_spawn(&pid, "/bin/cat", &actions, nil, &arguments, nil) == 0)
            close(toChild[0])
            close(fromChild[1])
            self.pid = pid
            input = toChild[1]
            output = fromChild[0]
        }

        func exchangeByte() throws {
            var byte: UInt8 = 1
            try #require(write(input, &byte, 1) == 1 && read(output, &byte, 1) == 1)
        }

        func end() {
            guard input >= 0 else { return }
            close(input)
            input = -1
            var status: Int32 = 0
            waitpid(pid, &status, 0)
        }

        deinit {
            end()
            close(output)
        }
    }

    @Test("A process that does not exist shows nothing")
    func absent() {
        #expect(Exposition(sources: [ProcessSource(pid: -1)]).text(.openMetrics) == "# EOF\n")
    }
}
