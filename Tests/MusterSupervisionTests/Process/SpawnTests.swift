// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterSupervision

@Suite("Child processes", .timeLimit(.minutes(3)))
struct SpawnTests {
    @Test("What needs a process of its own", arguments: Scenario.independent)
    func scenario(_ scenario: Scenario) async throws {
        #expect(try await ScenarioProcess.run(scenario) == .exited(code: 0))
    }

    @Test("Exit codes are told, once")
    func exitCode() async throws {
        let child = try ChildProcess.shell("exit 7")
        let end = try await onThread { child.waitForEnd() }
        #expect(end.termination == .exited(code: 7))
        #expect(child.poll() == nil)
        #expect(!child.send(SIGTERM))
        #expect(!child.killGroup())
    }

    @Test("The time that a child has spent is told")
    func usage() async throws {
        let child = try ChildProcess.shell("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done")
        let end = try await onThread { child.waitForEnd() }
        #expect(end.termination == .exited(code: 0))
        #expect(end.cpuSeconds > 0.001)
        #expect(end.cpuSeconds < 60)
    }

    @Test("Signals are told", arguments: [SIGTERM, SIGKILL, SIGABRT])
    func signalled(number: Int32) async throws {
        let child = try ChildProcess.spawn(
            SpawnRequest(executable: "/bin/sleep", title: "sleep", arguments: ["1000"]))
        #expect(child.poll() == nil)
        #expect(child.send(number))
        let end = try await onThread { child.waitForEnd() }
        #expect(end.termination == .signaled(number))
    }

    @Test("A child leads a group of its own, and is killed with all of it")
    func group() async throws {
        let pipe = try Pipe()
        let child = try ChildProcess.shell("sleep 1000 & echo $! >&3; wait", descriptors: [pipe.writing])
        let grandchild = try await onThread { pid_t(pipe.line()) }
        #expect(getpgid(child.pid) == child.pid)
        #expect(getpgid(try #require(grandchild)) == child.pid)
        #expect(child.killGroup())
        let end = try await onThread { child.waitForEnd() }
        #expect(end.termination == .signaled(SIGKILL))
        // The grandchild's copy of the pipe is closed, too.
        #expect(try await onThread { pipe.rest() } == "")
    }

    @Test("Stops and continuations are told")
    func stopped() async throws {
        let child = try ChildProcess.spawn(SpawnRequest(executable: "/bin/sleep", title: "sleep", arguments: ["1000"]))
        defer { child.killGroup() }
        child.send(SIGSTOP)
        try await onThread { child.waitForNews(WSTOPPED) }
        #expect(child.poll() == .stopped(signal: SIGSTOP))
        #expect(child.poll() == nil)
        child.send(SIGCONT)
        try await onThread { child.waitForNews(WCONTINUED) }
        #expect(child.poll() == .continued)
        child.send(SIGKILL)
        _ = try await onThread { child.waitForEnd() }
    }

    @Test("Title, arguments and environment arrive byte for byte")
    func strings() async throws {
        let pipe = try Pipe()
        var environment = ProcessEnvironment(["B": "2", "A": "1=1"])
        environment["B"] = "zwei"
        environment["C"] = "drei"
        environment["C"] = nil
        #expect(environment["A"] == "1=1")
        #expect(environment["C"] == nil)
        var request = SpawnRequest(
            executable: "/bin/sh", title: "the title", arguments: [], environment: environment,
            descriptors: [pipe.writing])
        request.titleRoom = 12
        request.arguments = [
            Array("-c".utf8), Array("cat /proc/$$/cmdline /proc/$$/environ >&3; true".utf8), [0xFF, 0x20],
        ]
        let child = try ChildProcess.spawn(request)
        pipe.closeWriting()
        let bytes = try await onThread {
            var bytes: [UInt8] = []
            var byte: UInt8 = 0
            while read(pipe.reading.rawValue, &byte, 1) == 1 { bytes.append(byte) }
            _ = child.waitForEnd()
            return bytes
        }
        let parts = bytes.split(separator: 0).map(Array.init)
        #expect(parts.first == Array("the title   ".utf8))
        #expect(parts.dropFirst(3).first == [0xFF, 0x20])
        let variables = parts.dropFirst(4).map { String(decoding: $0, as: UTF8.self) }
        #expect(variables == ["A=1=1", "B=zwei"])
    }

    @Test("The environment and the arguments of this process can be handed on")
    func inherited() {
        #expect(ProcessEnvironment.inherited["PATH"] == getenv("PATH").map { String(cString: $0) })
        #expect(SpawnRequest.ownArguments.count == CommandLine.arguments.count - 1)
    }

    @Test("A program that is missing is told with its path")
    func missing() {
        let error = #expect(throws: SystemError.self) {
            try ChildProcess.spawn(SpawnRequest(executable: "/no/such/program", title: "x"))
        }
        #expect(error?.code == ENOENT)
        #expect(error?.description.contains("/no/such/program") == true)
    }

    @Test("Titles are rewritten within their room")
    func titles() async throws {
        let pipe = try Pipe()
        let child = try ScenarioProcess.start(.retitles, titleRoom: 32, descriptors: [pipe.writing])
        let lines = try await onThread { pipe.rest() }.split(separator: "\n")
        let end = try await onThread { child.waitForEnd() }
        #expect(end.termination == .exited(code: 0))
        func padded(_ text: String) -> String { text + String(repeating: " ", count: 32 - text.utf8.count) }
        #expect(
            lines == [
                "[\"\(padded("scenario"))\"]|exe", "[\"\(padded("app: web worker 1"))\"]|app-web-1",
                "[\"\(padded("app: " + String(repeating: "ö", count: 13)))\"]|längerer-name-",
                "[\"\(padded("app"))\"]|app",
            ])
    }

    @Test("Workers whose supervisor was killed stop, or are ended when they hang")
    func orphans() async throws {
        let pipe = try Pipe()
        let supervisor = try ScenarioProcess.start(.leavesWorkers, descriptors: [pipe.writing])
        let end = try await onThread { supervisor.waitForEnd() }
        #expect(end.termination == .signaled(SIGKILL))
        // The end of the pipe comes when both have ended.
        #expect(try await onThread { pipe.rest() } == "stopped\n")
    }

    @Test("Sockets handed over as systemd does are found by name")
    func activation() async throws {
        let web = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "x")
        let other = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "x")
        defer {
            web.closeDescriptor()
            other.closeDescriptor()
        }
        let pipe = try Pipe()
        var path = [CChar](repeating: 0, count: 4096)
        let length = readlink("/proc/self/exe", &path, path.count - 1)
        let program = String(decoding: path[..<max(0, length)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        var environment = ProcessEnvironment.inherited
        environment["MUSTER_TEST_SCENARIO"] = Scenario.takesSockets.rawValue
        environment["LISTEN_FDS"] = "3"
        environment["LISTEN_FDNAMES"] = "web:unknown name:pipe"
        let child = try ChildProcess.shell(
            "LISTEN_PID=$$ exec \"$0\"", [program], environment: environment,
            descriptors: [web.descriptor, other.descriptor, pipe.writing])
        let end = try await onThread { child.waitForEnd() }
        #expect(end.termination == .exited(code: 0))
    }
}
