// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterSupervision

/// The thread sanitizer keeps signals from threads that call nothing.
@Suite("Looking at the threads of a living process", .timeLimit(.minutes(3)), .disabled(if: Scale.isReduced))
struct ProcessInspectorTests {
    /// A process that hangs.
    private final class Hung: Sendable {
        let vitalSigns: VitalSignsReader
        let child: ChildProcess

        init() throws {
            vitalSigns = try VitalSignsReader.create(name: "test")
            let pipe = try Pipe()
            child = try ScenarioProcess.start(
                .isInspected, descriptors: [vitalSigns.descriptor.rawValue, pipe.writing])
            pipe.closeWriting()
            #expect(pipe.line() == "ready")
        }

        var inspector: ProcessInspector { ProcessInspector(pid: child.pid, area: vitalSigns.inspection) }

        deinit {
            child.send(SIGKILL)
            _ = child.waitForEnd()
        }
    }

    private func has(_ thread: InspectedThread?, _ function: String) -> Bool {
        thread?.frames.contains { $0.function?.contains(function) == true } == true
    }

    @Test("Every thread of a process whose main thread hangs has a backtrace, or a reason why it has none")
    func threads() async throws {
        try await onThread {
            let hung = try Hung()
            for _ in 0..<3 {
                let threads = try hung.inspector.threads(limit: .seconds(60))
                let main = threads.first { $0.identifier == hung.child.pid }
                #expect(has(main, "hangMainThread") && has(main, "isInspected"))
                let waiter = threads.first { $0.name == "waiter" }
                #expect(has(waiter, "waitForEver") && waiter?.isWhole == true)
                let burner = threads.first { $0.name == "burner" }
                #expect(has(burner, "burn") && burner?.isWhole == true)
                #expect(threads.contains { has($0, "waitInTask") && has($0, "swift_job_run") })
                let blocker = threads.first { $0.name == "blocker" }
                #expect(blocker?.frames.isEmpty == true && blocker?.obstacle == .blocksSignal)
                let many = threads.filter { $0.name == "one of many" }
                #expect(many.count == 100 && many.allSatisfy { has($0, "waitForEver") && $0.isWhole })
            }
        }
    }

    @Test("A profile has the function that uses the processor on top")
    func profile() async throws {
        try await onThread {
            let hung = try Hung()
            var profile = try hung.inspector.profile(for: .milliseconds(400), frequency: 250)
            // On a busy machine the process may not have got a processor yet.
            while profile.samples < 20 { profile = try hung.inspector.profile(for: .seconds(1), frequency: 250) }
            let top = try #require(profile.stacks.first)
            #expect(top.path.first == "burner" && top.path.contains { $0.contains("burn(") })
            #expect(profile.stacks.allSatisfy { $0.path.first == "burner" } && !profile.hasEnded)
            #expect(profile.stacks.reduce(0) { $0 + $1.count } == profile.samples)
            #expect(profile.folded(below: "a;b").first?.hasPrefix("a:b;burner;") == true)
            #expect(profile.folded(below: "x").first?.hasSuffix(" \(top.count)") == true)
            // Its timers are gone, and it can be looked at.
            #expect(try hung.inspector.threads(limit: .seconds(60)).contains { $0.name == "burner" && $0.isWhole })
        }
    }

    @Test("A stopped process says so, and one that ends meanwhile is told of")
    func ends() async throws {
        try await onThread {
            let hung = try Hung()
            hung.child.send(SIGSTOP)
            hung.child.waitForNews(WSTOPPED)
            #expect(try hung.inspector.threads(limit: .seconds(60)).allSatisfy { $0.obstacle == .stopped })
            hung.child.send(SIGCONT)
            let gate = Gate()
            try NativeThread.start(name: "killer") {
                gate.pass()
                hung.child.send(SIGKILL)
            }
            let profile = try hung.inspector.profile(for: .seconds(60)) {
                gate.open()
                return false
            }
            #expect(profile.hasEnded && profile.duration < .seconds(30))
            #expect(throws: InspectionError.ended) { try hung.inspector.threads(limit: .seconds(60)) }
            #expect(throws: InspectionError.ended) { try hung.inspector.profile(for: .seconds(60)) }
        }
    }

    @Test("A profile of a process that is stopped leaves no timers to it")
    func stopped() async throws {
        try await onThread {
            let hung = try Hung()
            let memory = hung.vitalSigns.inspection.memory
            hung.child.send(SIGSTOP)
            hung.child.waitForNews(WSTOPPED)
            let before = memory.pointee.obeyed
            #expect(throws: InspectionError.noAnswer) { try hung.inspector.profile(for: .seconds(60)) }
            hung.child.send(SIGCONT)
            // The handler has come to its end.
            while memory.pointee.obeyed == before { usleep(1000) }
            #expect(text(of: "/proc/\(hung.child.pid)/timers").isEmpty)
            #expect(try hung.inspector.threads().contains { $0.name == "burner" && $0.isWhole })
        }
    }

    @Test("Threads that there is no timer for are counted as lost")
    func manyThreads() async throws {
        try await onThread {
            let hung = try Hung()
            let memory = hung.vitalSigns.inspection.memory
            func start(_ request: UInt32, _ threads: [Int32]) {
                let deadline = MonotonicInstant.now.advanced(by: .seconds(60)).nanoseconds
                let count = Int32(threads.count)
                let code = cmuster_inspection_start(
                    memory, hung.child.pid, request, 1_000_000_000, deadline, threads, count)
                #expect(code == 0)
                while !cmuster_inspection_is_obeyed(memory, request) { usleep(1000) }
            }
            _ = cmuster_inspection_lost(memory)
            let limit = Int(CMUSTER_PROFILED_THREADS)
            start(1, Array(repeating: hung.child.pid, count: limit + 5))
            start(2, [hung.child.pid, hung.child.pid])
            #expect(cmuster_inspection_lost(memory) == 7)
        }
    }

    @Test("One looks at a time, whatever the process has written, and at none that does not allow it")
    func refusals() async throws {
        try await onThread {
            let hung = try Hung()
            let inspector = hung.inspector
            let profile = try inspector.profile(for: .seconds(60)) {
                #expect(throws: InspectionError.busy) { try inspector.threads(limit: .seconds(60)) }
                return true
            }
            #expect(profile.duration < .seconds(30))
            let foreign = ProcessInspector(pid: getpid(), area: hung.vitalSigns.inspection)
            #expect(throws: InspectionError.notAllowed) { try foreign.threads() }
            // The signal would end a process without a handler.
            let other = try ChildProcess.shell("sleep 1000")
            defer {
                other.send(SIGKILL)
                _ = other.waitForEnd()
            }
            let owner = hung.vitalSigns.inspection.memory.pointee.owner
            hung.vitalSigns.inspection.memory.pointee.owner = UInt32(other.pid)
            let unguarded = ProcessInspector(pid: other.pid, area: hung.vitalSigns.inspection)
            #expect(throws: InspectionError.notAllowed) { try unguarded.threads() }
            hung.vitalSigns.inspection.memory.pointee.owner = owner
            // A worker that has gone astray.
            let memory = hung.vitalSigns.inspection.memory
            memset(memory, 0x7F, MemoryLayout<cmuster_inspection>.size)
            memory.pointee.looker = 0
            #expect(throws: InspectionError.notAllowed) { try inspector.threads(limit: .seconds(60)) }
            memory.pointee.owner = UInt32(hung.child.pid)
            // One that looked has died.
            memory.pointee.looker = UInt32(Int32.max)
            #expect(throws: Never.self) { try inspector.threads(limit: .seconds(60)) }
        }
    }
}
