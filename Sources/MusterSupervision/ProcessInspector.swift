// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
package import MusterPlatform

/// The memory through which a process' threads are looked at.
///
/// Sound as `@unchecked Sendable`: the pointer never changes, and the memory is reached by functions that expect others to
/// change it.
package final class InspectionArea: @unchecked Sendable {
    let memory: UnsafeMutablePointer<cmuster_inspection>
    private let owner: AnyObject?

    init(_ memory: UnsafeMutablePointer<cmuster_inspection>, owner: AnyObject?) {
        self.memory = memory
        self.owner = owner
    }

    /// That of this process, for its own threads: a worker's is its supervisor's, too.
    fileprivate static let own = Result { () throws(InspectionError) in
        if let memory = cmuster_inspection_installed() { return InspectionArea(memory, owner: nil) }
        let size = MemoryLayout<cmuster_inspection>.stride
        guard let address = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
            address != MAP_FAILED
        else { throw InspectionError.system(SystemError("mmap")) }
        let memory = address.assumingMemoryBound(to: cmuster_inspection.self)
        guard cmuster_inspection_install(memory) == 0 else { throw .notAllowed }
        return InspectionArea(memory, owner: nil)
    }

    fileprivate func nextRequest() -> UInt32 { cmuster_inspection_next_request(memory) }

    fileprivate func exclusively<Result>(
        _ body: () throws(InspectionError) -> Result
    ) throws(InspectionError) -> Result {
        guard cmuster_inspection_begin(memory) else { throw .busy }
        defer {
            // What was written there need not stay in memory.
            let samples = MemoryLayout<cmuster_inspection>.offset(of: \.samples) ?? 0
            madvise(
                UnsafeMutableRawPointer(memory) + samples, MemoryLayout<cmuster_inspection>.stride - samples,
                Int32(MADV_REMOVE))
            cmuster_inspection_end(memory)
        }
        return try body()
    }
}

/// Why a process' threads could not be looked at.
package enum InspectionError: Error, Hashable, Sendable, CustomStringConvertible {
    /// It has not begun to, or the program handles the signal itself.
    case notAllowed
    /// Another inspection is running.
    case busy
    /// The process has ended.
    case ended
    /// It did not answer in time.
    case noAnswer
    case system(SystemError)

    package var description: String {
        switch self {
        case .notAllowed: "process cannot be inspected: it is still starting, or it handles SIGPROF itself"
        case .busy: "another inspection of this process is running; try again when it is done"
        case .ended: "process has ended"
        case .noAnswer: "process did not answer in time: it is stopped, or all its threads block SIGPROF"
        case .system(let error): "\(error)"
        }
    }
}

/// A thread of a process that was looked at.
package struct InspectedThread: Sendable {
    /// Why a thread has no backtrace.
    package enum Obstacle: String, Sendable {
        case blocksSignal = "blocks SIGPROF"
        case stopped
        case uninterruptible = "waits uninterruptibly in the kernel"
        case noAnswer = "did not answer in time"
        case ended
    }

    package var identifier: Int32
    package var name: String
    /// As the kernel has it: R for running, S for waiting, …
    package var state: Character
    /// The time that it has spent on processors, in seconds.
    package var cpuSeconds: Double
    /// The functions on its stack, the innermost first.
    package var frames: [StackFrame] = []
    /// Whether the first function of the thread is among them.
    package var isWhole = false
    /// Why there are none.
    package var obstacle: Obstacle?
}

/// Where a process spends its time on processors.
package struct ProcessProfile: Sendable {
    /// How often a stack was met, beginning with the thread's name and its outermost function.
    package var stacks: [(path: [String], count: Int)]
    package var samples: Int
    /// Those that there was no room for.
    package var lost: Int
    package var duration: Duration
    package var frequency: Int
    /// Whether the process ended meanwhile.
    package var hasEnded: Bool

    /// What flame graphs are made of: `process;thread;function;function 12`, the most frequent first.
    package func folded(below process: String) -> [String] {
        stacks.map { "\(Self.folded([process] + $0.path)) \($0.count)" }
    }

    /// A stack on a line, the outermost function first.
    package static func folded(_ path: [String]) -> String {
        path.map { String($0.map { $0 == ";" ? ":" : $0 }) }.joined(separator: ";")
    }
}

/// Looks at the threads of a living process, a worker or this one, also when it hangs.
///
/// Each thread is sent a signal, whose handler copies its registers and its stack into shared memory; all else happens here.
/// Calls block for as long as they are told: they belong on a thread of their own.
package struct ProcessInspector: Sendable {
    private let pid: Int32
    private let area: InspectionArea

    package init(pid: Int32, area: InspectionArea) {
        self.pid = pid
        self.area = area
    }

    /// For this process' own threads.
    package static func own() throws(InspectionError) -> ProcessInspector {
        ProcessInspector(pid: getpid(), area: try InspectionArea.own.get())
    }

    // MARK: Backtraces

    /// All threads with their backtraces.
    ///
    /// - Parameter limit: How long they may take to answer.
    package func threads(limit: Duration = .seconds(2)) throws(InspectionError) -> [InspectedThread] {
        try area.exclusively { () throws(InspectionError) in
            try checkAllowed()
            var threads = ThreadList.threads(of: pid)
            guard !threads.isEmpty else { throw .ended }
            guard let space = AddressSpace(pid: pid) else { throw .ended }
            var end = MonotonicInstant.now.advanced(by: limit)
            var backtraces: [Int: (addresses: [UInt64], isWhole: Bool)] = [:]
            for start in stride(from: 0, to: threads.count, by: Int(CMUSTER_SAMPLES)) {
                let batch = start..<min(start + Int(CMUSTER_SAMPLES), threads.count)
                var samples: [Int: ThreadSample] = [:]
                try sample(&threads, batch, into: &samples, until: end)
                // No more stacks at a time than the shared memory has room for.
                let sampled = MonotonicInstant.now
                for (index, sample) in samples { backtraces[index] = space.backtrace(sample) }
                end = end.advanced(by: sampled.duration(to: .now))
            }
            let frames = space.frames(at: Set(backtraces.values.flatMap(\.addresses)))
            for (index, backtrace) in backtraces {
                threads[index].frames = backtrace.addresses.compactMap { frames[$0] }
                threads[index].isWhole = backtrace.isWhole
            }
            return threads
        }
    }

    private func checkAllowed() throws(InspectionError) {
        // Without a handler by now, the signal would end the process.
        if cmuster_inspection_is_installed(area.memory, pid), ThreadList.catchesSignal(pid) { return }
        throw ThreadList.hasEnded(pid) ? .ended : .notAllowed
    }

    /// Asks some threads, as many as have room, and waits for their answers.
    private func sample(
        _ threads: inout [InspectedThread], _ batch: Range<Int>, into samples: inout [Int: ThreadSample],
        until end: MonotonicInstant
    ) throws(InspectionError) {
        let request = area.nextRequest()
        var pending: [Int] = []
        for index in batch where threads[index].obstacle == nil {
            let slot = Int32(index - batch.lowerBound)
            switch cmuster_inspection_request(area.memory, pid, threads[index].identifier, request, slot) {
            case 0: pending.append(index)
            case ESRCH: threads[index].obstacle = .ended
            case let code: throw .system(SystemError("rt_tgsigqueueinfo", code: code))
            }
        }
        while !pending.isEmpty {
            let seen = cmuster_inspection_written(area.memory)
            pending.removeAll { index in
                let slot = index - batch.lowerBound
                guard cmuster_inspection_is_written(area.memory, request, Int32(slot)) else { return false }
                samples[index] = copy(slot).sample
                cmuster_inspection_free(area.memory, Int32(slot))
                return true
            }
            guard !pending.isEmpty, wait(seen, until: end) else { break }
        }
        if ThreadList.hasEnded(pid) { throw .ended }
        for index in pending {
            // Its answer is not for the next request, if there ever is one.
            cmuster_inspection_free(area.memory, Int32(index - batch.lowerBound))
            threads[index].obstacle = .noAnswer
        }
    }

    /// Waits for an answer, for a moment.
    ///
    /// - Returns: `false` when the time is over or the process has ended.
    private func wait(_ seen: UInt32, until end: MonotonicInstant) -> Bool {
        let left = MonotonicInstant.now.duration(to: end)
        guard left > .zero, !ThreadList.hasEnded(pid) else { return false }
        // Short enough to notice the process' end.
        cmuster_inspection_wait(area.memory, seen, min(left, .milliseconds(50)).clampedNanoseconds)
        return true
    }

    /// Whatever is in the memory, it is what the process was able to write.
    private func copy(_ slot: Int) -> (sample: ThreadSample, weight: Int) {
        let start = MemoryLayout<cmuster_inspection>.offset(of: \.samples) ?? 0
        let address = UnsafeRawPointer(area.memory) + start + slot * MemoryLayout<cmuster_sample>.stride
        func at<Value: BitwiseCopyable>(_ offset: Int?, _: Value.Type) -> Value {
            address.loadUnaligned(fromByteOffset: offset ?? 0, as: Value.self)
        }
        let length = Int(clamping: at(MemoryLayout<cmuster_sample>.offset(of: \.length), UInt64.self))
        let stack = MemoryLayout<cmuster_sample>.stride - Int(CMUSTER_SAMPLE_STACK)
        let registers = MemoryLayout<cmuster_sample>.offset(of: \.registers) ?? 0
        let sample = ThreadSample(
            thread: at(MemoryLayout<cmuster_sample>.offset(of: \.thread), Int32.self),
            registers: (0..<Int(CMUSTER_REGISTERS)).map { at(registers + 8 * $0, UInt64.self) },
            stack: Array(
                UnsafeRawBufferPointer(
                    start: address + stack, count: min(length, MemoryLayout<cmuster_sample>.stride - stack))))
        return (sample, Int(at(MemoryLayout<cmuster_sample>.offset(of: \.weight), UInt32.self)))
    }

    // MARK: Profiles

    /// The frequencies that a profile may have.
    package static let frequencies = 1...1000
    /// How many different stacks it keeps.
    private static let mostStacks = 20_000
    private static let reaction = Duration.seconds(2)

    /// Takes samples of what the process' threads do while they are on a processor.
    ///
    /// - Parameters:
    ///   - duration: For how long.
    ///   - frequency: How many samples there are for a second on a processor; the kernel gives no more than it has ticks.
    ///   - isCancelled: Asked several times a second.
    package func profile(
        for duration: Duration, frequency: Int = 99, isCancelled: () -> Bool = { false }
    ) throws(InspectionError) -> ProcessProfile {
        try area.exclusively { () throws(InspectionError) in
            try checkAllowed()
            guard let space = AddressSpace(pid: pid) else { throw .ended }
            let frequency = min(max(frequency, Self.frequencies.lowerBound), Self.frequencies.upperBound)
            var gathered = Gathered()
            for slot in 0..<CMUSTER_SAMPLES { cmuster_inspection_free(area.memory, slot) }
            _ = cmuster_inspection_lost(area.memory)
            // However this ends, no timer goes on that nobody reads.
            var isStopped = false
            defer { if !isStopped { _ = cmuster_inspection_stop(area.memory, pid, area.nextRequest()) } }
            let start = MonotonicInstant.now
            let end = start.advanced(by: duration)
            func follow() throws(InspectionError) {
                try startTimers(&gathered, interval: 1_000_000_000 / Int64(frequency), until: end)
            }
            try follow()
            var nextScan = start
            while MonotonicInstant.now < end, !ThreadList.hasEnded(pid), !isCancelled() {
                nextScan = min(end, .now.advanced(by: .milliseconds(250)))
                while MonotonicInstant.now < nextScan {
                    let seen = cmuster_inspection_written(area.memory)
                    gather(&gathered, space)
                    guard wait(seen, until: nextScan) else { break }
                }
                // Threads that were started meanwhile.
                if MonotonicInstant.now < end, !ThreadList.hasEnded(pid) { try follow() }
            }
            isStopped = true
            let stop = area.nextRequest()
            _ = cmuster_inspection_stop(area.memory, pid, stop)
            waitUntilObeyed(stop)
            gather(&gathered, space)
            return ProcessProfile(
                stacks: gathered.stacks(space), samples: gathered.samples,
                lost: gathered.lost + Int(cmuster_inspection_lost(area.memory)),
                duration: start.duration(to: min(end, .now)), frequency: frequency, hasEnded: ThreadList.hasEnded(pid))
        }
    }

    /// What a profile has found so far.
    private struct Gathered {
        struct Stack: Hashable {
            let thread: Int32
            let addresses: [UInt64]
        }

        var names: [Int32: String] = [:]
        var counts: [Stack: Int] = [:]
        var samples = 0
        var lost = 0

        /// Those that differ in places within functions only are one.
        func stacks(_ space: AddressSpace) -> [(path: [String], count: Int)] {
            let frames = space.frames(at: Set(counts.keys.flatMap(\.addresses)))
            var byName: [[String]: Int] = [:]
            for (stack, count) in counts {
                var path = [names[stack.thread] ?? "thread"]
                for address in stack.addresses.reversed() {
                    let frame = frames[address]
                    let name = frame?.function ?? "[\(frame?.image ?? "?")]"
                    // Of a library without symbols one is enough.
                    if frame?.function != nil || path.last != name { path.append(name) }
                }
                byName[path, default: 0] += count
            }
            return byName.map { ($0.key, $0.value) }.sorted { ($1.1, $0.0.count) < ($0.1, $1.0.count) }
        }
    }

    private func startTimers(
        _ gathered: inout Gathered, interval: Int64, until end: MonotonicInstant
    ) throws(InspectionError) {
        let new = ThreadList.identifiers(of: pid).filter { gathered.names[$0] == nil }
        guard !new.isEmpty else { return }
        for thread in new { gathered.names[thread] = ThreadList.name(of: thread, in: pid) }
        let request = area.nextRequest()
        let deadline = end.advanced(by: .milliseconds(100)).nanoseconds
        let code = cmuster_inspection_start(area.memory, pid, request, interval, deadline, new, Int32(new.count))
        if code == ESRCH { throw .ended }
        if code != 0 { throw .system(SystemError("rt_sigqueueinfo", code: code)) }
        guard waitUntilObeyed(request) else { throw ThreadList.hasEnded(pid) ? .ended : .noAnswer }
    }

    @discardableResult
    private func waitUntilObeyed(_ request: UInt32) -> Bool {
        let end = MonotonicInstant.now.advanced(by: Self.reaction)
        while true {
            let seen = cmuster_inspection_written(area.memory)
            if cmuster_inspection_is_obeyed(area.memory, request) { return true }
            guard wait(seen, until: end) else { return false }
        }
    }

    private func gather(_ gathered: inout Gathered, _ space: AddressSpace) {
        // A sample by a timer belongs to no request.
        for slot in 0..<Int(CMUSTER_SAMPLES) where cmuster_inspection_is_written(area.memory, 0, Int32(slot)) {
            let (sample, weight) = copy(slot)
            cmuster_inspection_free(area.memory, Int32(slot))
            let stack = Gathered.Stack(thread: sample.thread, addresses: space.backtrace(sample).addresses)
            // A number that cannot be is not counted.
            guard (1...10_000).contains(weight),
                gathered.counts.count < Self.mostStacks || gathered.counts[stack] != nil
            else {
                gathered.lost += 1
                continue
            }
            gathered.counts[stack, default: 0] += weight
            gathered.samples += weight
        }
    }
}

/// The threads of a process, as `/proc` shows them.
enum ThreadList {
    static func identifiers(of pid: Int32) -> [Int32] {
        guard let directory = opendir("/proc/\(pid)/task") else { return [] }
        defer { closedir(directory) }
        var threads: [Int32] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if let thread = Int32(name) { threads.append(thread) }
        }
        return threads.sorted()
    }

    static func name(of thread: Int32, in pid: Int32) -> String {
        let text = SmallFile.beginning(of: "/proc/\(pid)/task/\(thread)/comm") ?? ""
        return (text.last == "\n" ? String(text.dropLast()) : text).replacingControlCharacters(with: "?")
    }

    static func threads(of pid: Int32) -> [InspectedThread] {
        identifiers(of: pid).compactMap { thread in
            let folder = "/proc/\(pid)/task/\(thread)"
            guard let fields = SmallFile.statFields(in: folder), fields.count > 12, let state = fields[0].first,
                let user = Double(fields[11]), let system = Double(fields[12])
            else { return nil }
            return InspectedThread(
                identifier: thread, name: name(of: thread, in: pid), state: state,
                cpuSeconds: (user + system) / ticksPerSecond, obstacle: obstacle(state, folder))
        }
    }

    private static let ticksPerSecond = Double(max(1, sysconf(Int32(_SC_CLK_TCK))))

    private static func obstacle(_ state: Character, _ folder: String) -> InspectedThread.Obstacle? {
        switch state {
        case "T", "t": return .stopped
        case "D": return .uninterruptible
        case "Z", "X": return .ended
        default: break
        }
        return hasSignal(in: "SigBlk:", folder) ? .blocksSignal : nil
    }

    /// Whether the process has a handler for the signal.
    static func catchesSignal(_ pid: Int32) -> Bool { hasSignal(in: "SigCgt:", "/proc/\(pid)") }

    private static func hasSignal(in set: String, _ folder: String) -> Bool {
        let line = SmallFile.beginning(of: folder + "/status")?.split(separator: "\n").first { $0.hasPrefix(set) }
        let signals = line.flatMap { UInt64($0.dropFirst(set.count).drop(while: \.isWhitespace), radix: 16) } ?? 0
        return signals & 1 << UInt64(SIGPROF - 1) != 0
    }

    static func hasEnded(_ pid: Int32) -> Bool {
        guard let state = SmallFile.statFields(in: "/proc/\(pid)")?.first else { return true }
        // While one that is dead has other threads, it has not ended.
        return (state == "Z" || state == "X") && identifiers(of: pid).count <= 1
    }
}
