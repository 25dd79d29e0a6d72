// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Odd surroundings", .transcript, .timeLimit(.minutes(10)))
struct SurroundingsTests {
    private static func shell(_ command: String) -> [String] { ["/bin/bash", "-c", command, "bash"] }

    /// What a process' descriptors lead to.
    private func targets(_ pid: Int32, _ descriptors: ClosedRange<Int> = 0...2) -> [String] {
        descriptors.map {
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/fd/\($0)")) ?? "closed"
        }
    }

    @Test(
        "closed standard descriptors are nobody's else",
        arguments: ["2>&-", ">&-", ">&- 2>&-"], [["--workers=2"], ["--in-process"]])
    func closedDescriptors(redirection: String, options: [String]) async throws {
        try await TestProgram.run(options, wrapper: Self.shell("exec \"$@\" \(redirection)")) { program in
            // Its lines cannot be read.
            _ = try await eventually("an answer") {
                let answer = try? await program.command("who")
                return answer?.contains("test/") == true ? answer : nil
            }
            for pid in program.processes {
                for target in targets(pid) {
                    #expect(target == "/dev/null" || target.hasPrefix("pipe:"), "\(pid)")
                }
            }
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }

    @Test("a closed standard error leaves the metrics whole", arguments: backends)
    func metricsWithoutLog(backend: String) async throws {
        try await TestProgram.run(["--workers=2"], backend: backend, wrapper: Self.shell("exec \"$@\" 2>&-")) {
            program in
            try await program.ready()
            for _ in 0..<20 { program.signal(SIGUSR2) }
            try await program.metric("test_generation", is: 2)
            try await program.metric("muster_worker_scrape_success", is: 2)
        }
    }

    @Test("the dynamic linker in the program's place is refused")
    func linker() async throws {
        let linker = "/lib64/ld-linux-x86-64.so.2"
        guard FileManager.default.isExecutableFile(atPath: linker) else { return }
        try await TestProgram.run(["--workers=2"], wrapper: [linker]) { program in
            let status = try await program.status()
            #expect(status == 1)
            #expect(program.log("cannot run", "dynamic linker", "start the program itself").count == 1)
        }
    }

    @Test("a system without /proc is refused", .enabled(if: Namespace.isPermitted, "takes a namespace of its own"))
    func noProc() async throws {
        // The program's arguments come from there, too: it has none.
        let command = "mount -t tmpfs none /proc && exec \"$@\""
        let wrapper = ["/usr/bin/unshare", "--mount"] + Self.shell(command)
        try await TestProgram.run(["--workers=2"], wrapper: wrapper) { program in
            let status = try await program.status()
            #expect(status == 1)
            #expect(program.log("cannot run", "mount /proc").count == 1)
        }
    }

    @Test("too few descriptors for the first workers end it, with the limit's name")
    func descriptors() async throws {
        try await TestProgram.run(["--workers=8"], wrapper: Self.shell("ulimit -n 24; exec \"$@\"")) { program in
            let status = try await program.status()
            #expect(status == 1)
            #expect(!program.log("RLIMIT_NOFILE").isEmpty)
            // One line, however many they are.
            #expect(program.log("cannot start worker process").count == 1)
        }
    }

    @Test(
        "few threads delay neither a reload nor the end, and too few are named",
        .enabled(if: getuid() == 0, "takes a user of its own"), arguments: ["cooperative", "threading"], [4, 6, 9])
    func threads(backend: String, limit: Int) async throws {
        // A user whose threads nobody else counts among.
        let user = 30_000 + Int.random(in: 0..<30_000)
        let wrapper = [
            "setpriv", "--reuid=\(user)", "--regid=\(user)", "--clear-groups", "prlimit", "--nproc=\(limit)",
        ]
        guard let setpriv = find("setpriv"), find("prlimit") != nil else { return }
        try await TestProgram.run(
            ["--workers=2", "--socket=127.0.0.1:0"], backend: backend, wrapper: [setpriv] + wrapper.dropFirst()
        ) { program in
            let begin = ContinuousClock.now
            do {
                try await program.ready()
                program.signal(SIGHUP)
                _ = try await eventually("the end of the reload") {
                    (program.log("reload completed") + program.log("reload aborted")).isEmpty ? nil : true
                }
                program.signal(SIGTERM)
                #expect(try await program.status() == 0)
            } catch {
                let status = try await program.status()
                #expect(status == 1)
                #expect(!program.log("RLIMIT_NPROC").isEmpty)
            }
            #expect(begin.duration(to: .now) < .seconds(40))
        }
    }

    @Test("a file size limit below an arena is named")
    func fileSize() async throws {
        try await TestProgram.run(["--workers=2"], wrapper: Self.shell("ulimit -f 512; exec \"$@\"")) { program in
            let status = try await program.status()
            #expect(status == 1)
            #expect(!program.log("RLIMIT_FSIZE").isEmpty)
        }
    }

    @Test("without pidfd_open or pidfd_send_signal it supervises all the same", arguments: [434, 424])
    func seccomp(refusedCall: Int) async throws {
        let wrapper = [PythonTool.interpreter, "-c", Self.refuse, "\(refusedCall)"]
        try await TestProgram.run(["--workers=2"], wrapper: wrapper) { program in
            try await program.ready()
            try await program.logged("pidfd_open or pidfd_send_signal", "errno 1")
            let workers = try await program.started(2)
            kill(workers[0].pid, SIGKILL)
            try await program.said("started", 3)
            try await program.metric("muster_worker_restarts_total", ["reason": "signal"], is: 1)
            program.signal(SIGHUP)
            try await program.logged("reload completed")
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }

    @Test("without futex_waitv it hears of the ends of workers by their descriptors")
    func withoutBells() async throws {
        let wrapper = [PythonTool.interpreter, "-c", Self.refuse, "449"]
        try await TestProgram.run(["--workers=2", "--spares=1"], wrapper: wrapper) { program in
            try await program.ready()
            try await program.logged("warm spare ready")
            let workers = try await program.started(2)
            kill(workers[0].pid, SIGKILL)
            try await program.said("started", 3)
            try await program.metric("muster_worker_restarts_total", ["reason": "signal"], is: 1)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }

    @Test("a filter that ends whoever changes its scheduling does not end it")
    func scheduling() async throws {
        // SECCOMP_RET_KILL_PROCESS of sched_setattr(2).
        let kill = Self.refuse.replacingOccurrences(of: "0x00050001", with: "0x80000000")
        #if arch(x86_64)
        let call = "314"
        #else
        let call = "274"
        #endif
        let wrapper = [PythonTool.interpreter, "-c", kill, call]
        try await TestProgram.run(["--workers=2", "--spares=1"], wrapper: wrapper) { program in
            try await program.ready()
            try await program.logged("warm spare ready")
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }

    /// Refuses a system call, by number, to the program that it then becomes: EPERM, as container runtimes answer.
    static let refuse = """
        import ctypes, os, struct, sys
        call = int(sys.argv[1])
        code = [(0x20, 0, 0, 0), (0x15, 0, 1, call), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
        buffer = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
        class Program(ctypes.Structure):
            _fields_ = [("count", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
        program = Program(len(code), ctypes.cast(buffer, ctypes.c_void_p))
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(38, 1, 0, 0, 0) == 0
        assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
        os.execv(sys.argv[2], sys.argv[2:])
        """

    @Test("a NOTIFY_SOCKET that cannot be used is told of", arguments: ["/nonexistent/notify", "relative"])
    func notifySocket(path: String) async throws {
        try await TestProgram.run(["--workers=1"], environment: ["NOTIFY_SOCKET": path]) { program in
            try await program.ready()
            #expect(try await program.logged("warning", "cannot notify systemd").count == 1)
        }
    }

    @Test("a worker that closes its control channel is replaced", arguments: backends)
    func controlChannel(backend: String) async throws {
        try await TestProgram.run(["--workers=1", "--muster-abort-grace=200ms"], backend: backend) { program in
            try await program.ready()
            // Behind the arena and the vital signs.
            try await program.command("close 5")
            try await program.logged("worker hung", "control channel closed")
            try await program.said("started", 2)
            try await program.metric("muster_worker_restarts_total", ["reason": "heartbeat"], is: 1)
        }
    }
}

@Suite("A terminal", .transcript, .timeLimit(.minutes(10)))
struct TerminalTests {
    /// Runs a shell's command on a pseudo-terminal of its own, in which `"$@"` is the program. Descriptor 9 is an input
    /// that does not end and is no terminal.
    private static func terminal(_ command: String) -> [String] {
        let input = "fifo=$(mktemp -u); mkfifo $fifo; exec 9<>$fifo; rm $fifo"
        let command = "\(input); stty -onlcr; \(command)"
        return [
            PythonTool.interpreter, "-c",
            """
            import os, pty, sys
            status = pty.spawn(["/bin/bash", "-c", sys.argv[1], "bash"] + sys.argv[2:], stdin_read=lambda fd: b"")
            sys.exit(os.waitstatus_to_exitcode(status))
            """, command,
        ]
    }

    @Test("that stops background output stops no worker", arguments: backends)
    func toStop(backend: String) async throws {
        try await TestProgram.run(
            ["--workers=2"], backend: backend, wrapper: Self.terminal("stty tostop; exec \"$@\"")
        ) { program in
            try await program.ready()
            try await program.started(2)
            try await program.metric("muster_workers", ["state": "ready"], is: 2)
        }
    }

    @Test("in whose background the program runs takes away no worker")
    func background() async throws {
        let wrapper = Self.terminal("set -m; stty tostop; \"$@\" 0<&9 & wait")
        try await TestProgram.run(["--workers=2"], wrapper: wrapper) { program in
            try await program.ready()
            try await program.started(2)
            try await program.metric("muster_workers", ["state": "ready"], is: 2)
            try await program.metric("muster_signals_total", ["signal": "SIGTTOU"], is: 0)
        }
    }

    @Test("that is closed ends the program", arguments: ["exec \"$@\"", "\"$@\""])
    func closed(command: String) async throws {
        try await TestProgram.run(["--workers=2"], wrapper: Self.terminal(command)) { program in
            try await program.ready()
            kill(program.pid, SIGKILL)
            try await program.gone()
        }
    }

    @Test("that is closed ends the program in one process", arguments: backends)
    func closedInProcess(backend: String) async throws {
        try await TestProgram.run(
            ["--in-process"], backend: backend, wrapper: Self.terminal("exec \"$@\"")
        ) { program in
            try await program.ready()
            kill(program.pid, SIGKILL)
            try await program.gone()
        }
    }

    @Test("that is closed leaves alone what nohup protects")
    func nohup() async throws {
        let wrapper = Self.terminal("nohup \"$@\" 2>&1 0<&9 | cat")
        try await TestProgram.run(["--workers=1"], wrapper: wrapper) { program in
            try await program.ready()
            let worker = try await program.started(1)[0].pid
            let supervisor = try #require(ProcessFiles(pid: worker).parent)
            kill(program.pid, SIGKILL)
            kill(supervisor, SIGHUP)
            _ = try await eventually("another worker") {
                let answer = try? await program.command("who")
                return answer.map { !$0.isEmpty && !$0.contains(" \(worker)") } == true ? true : nil
            }
            kill(supervisor, SIGTERM)
            try await program.gone()
        }
    }
}
