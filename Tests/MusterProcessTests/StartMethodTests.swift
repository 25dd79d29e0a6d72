// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("How workers are started", .transcript, .timeLimit(.minutes(10)))
struct StartMethodTests {
    /// Where a process' program is in its memory: the same for all that are forked from one server.
    private func layout(_ pid: Int32) throws -> String {
        let maps = try String(contentsOfFile: "/proc/\(pid)/maps", encoding: .utf8)
        return try #require(maps.split(separator: "-").first.map(String.init))
    }

    private func server(of program: TestProgram, after old: Int32?) async throws -> Int32 {
        try await eventually("another fork server") { program.forkServer.flatMap { $0 == old ? nil : $0 } }
    }

    /// Kills a worker and returns its replacement.
    private func replaced(_ worker: TestProgram.Line, of program: TestProgram) async throws -> TestProgram.Line {
        let count = program.lines("started", by: worker.worker).count
        kill(worker.pid, SIGKILL)
        let line = try await program.said("started", count + 1, by: worker.worker)[count]
        try await program.logged("worker ready", "pid=\(line.pid)")
        return line
    }

    @Test("workers are forked from one process, with a memory layout of their own", arguments: backends)
    func forked(backend: String) async throws {
        try await TestProgram.run(["--workers=3", "--spares=1", "--loop"], backend: backend) { program in
            try await program.ready()
            let workers = try await program.started(3)
            let server = try #require(program.forkServer)
            let layout = try layout(server)
            #expect(try workers.allSatisfy { try self.layout($0.pid) == layout })
            #expect(try self.layout(program.pid) != layout)
            // Children of the supervisor all the same, each in a group of its own and with its arguments.
            for worker in workers {
                #expect(ProcessFiles(pid: worker.pid).parent == program.pid)
                #expect(getpgid(worker.pid) == worker.pid)
            }
            let arguments = try await program.command("shell tr '\\0' ' ' < /proc/$PPID/cmdline")
            #expect(arguments.hasPrefix("muster-test-program: test/") && arguments.contains("--workers=3"))
            #expect(try self.layout(try await replaced(workers[0], of: program).pid) == layout)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            #expect(program.processes.isEmpty)
        }
    }

    @Test("what the server has rehearsed leaves neither a thread nor a descriptor")
    func rehearsed() async throws {
        try await TestProgram.run(["--workers=1"]) { program in
            try await program.ready()
            let server = try #require(program.forkServer)
            let status = try String(contentsOfFile: "/proc/\(server)/status", encoding: .utf8)
            #expect(status.contains(/\nThreads:\s+1\n/))
            // A worker does not end because of a log that nobody reads: it has been as far as that.
            let caught = try #require(
                status.firstMatch(of: /\nSigCgt:\s+([0-9a-f]+)\n/).flatMap { UInt64($0.1, radix: 16) })
            #expect(caught & 1 << UInt64(SIGPIPE - 1) != 0)
            let folder = "/proc/\(server)/fd"
            let files = try FileManager.default.contentsOfDirectory(atPath: folder).filter { Int32($0) ?? 0 > 2 }
                .compactMap { try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)") }
            // Its one socket, in the places of all that a worker gets.
            #expect(Set(files).count == 1 && files[0].hasPrefix("socket:"))
        }
    }

    @Test("with the setting spawn, each loads the program anew")
    func spawned() async throws {
        try await TestProgram.run(["--workers=3", "--muster-start-method=spawn"]) { program in
            try await program.ready()
            let workers = try await program.started(3)
            #expect(program.forkServer == nil)
            #expect(Set(try workers.map { try layout($0.pid) }).count == 3)
        }
    }

    @Test("a reload, and a crash, give the next workers another layout", arguments: [SIGSEGV, SIGHUP])
    func fresh(signal: Int32) async throws {
        try await TestProgram.run(["--workers=2"]) { program in
            try await program.ready()
            let workers = try await program.started(2)
            let old = try #require(program.forkServer)
            let before = try layout(old)
            if signal == SIGHUP {
                program.signal(SIGHUP)
                try await program.logged("reload completed")
            } else {
                kill(workers[0].pid, signal)
                let next = try await program.said("started", 2, by: workers[0].worker)[1]
                #expect(try layout(next.pid) != before)
            }
            let server = try await server(of: program, after: old)
            let after = try layout(server)
            #expect(after != before)
            let last = try #require(program.lines("started", by: workers[0].worker).last)
            #expect(try layout(try await replaced(last, of: program).pid) == after)
        }
    }

    @Test("a server that has ended is replaced, and workers are started meanwhile", arguments: [false, true])
    func serverKilled(isSuspended: Bool) async throws {
        try await TestProgram.run(["--workers=2"]) { program in
            try await program.ready()
            let workers = try await program.started(2)
            let old = try #require(program.forkServer)
            if isSuspended {
                kill(old, SIGSTOP)
            } else {
                kill(old, SIGKILL)
                try await program.logged("fork server ended")
            }
            let next = try await replaced(workers[0], of: program)
            if isSuspended { try await program.logged("fork server does not answer") }
            let server = try await server(of: program, after: old)
            #expect(try layout(try await replaced(next, of: program).pid) == (try layout(server)))
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            #expect(program.processes.isEmpty)
        }
    }

    @Test("whenever the server is killed, every slot has one worker")
    func serverKilledAnyTime() async throws {
        try await TestProgram.run(["--workers=3", "--muster-restart-backoff-base=1ms"]) { program in
            try await program.ready()
            for _ in 0..<30 {
                for pid in program.titledProcesses where pid != program.pid { kill(pid, SIGKILL) }
                _ = try await program.metrics()
            }
            try await program.metric("muster_workers", ["state": "ready"], is: 3)
            try await program.metric("muster_worker_scrape_success", is: 3)
            // Nobody else is left: three workers, the supervisor, and its server if there is one just now.
            _ = try await eventually("the workers alone") {
                program.processes.filter { $0 != program.pid && $0 != program.forkServer }.count == 3 ? true : nil
            }
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            #expect(program.processes.isEmpty)
        }
    }

    @Test("what the server is told for its own start is not in a worker's environment", arguments: [nil, "1"])
    func environment(binding: String?) async throws {
        let environment = binding.map { ["LD_BIND_NOW": $0] } ?? [:]
        try await TestProgram.run(["--workers=1"], environment: environment) { program in
            try await program.ready()
            #expect(program.forkServer != nil)
            let inherited = try await program.command("shell env | grep -E '^(LD_BIND_NOW|MUSTER_FORK.*)='")
            #expect(inherited == (binding.map { "LD_BIND_NOW=\($0)" } ?? ""))
        }
    }

    @Test("what libraries know of the main thread is the worker's own number, not the server's")
    func threadNumber() async throws {
        try await TestProgram.run(["--workers=1"], backend: "cooperative") { program in
            try await program.ready()
            let worker = try await program.started(1)[0]
            let server = try #require(program.forkServer)
            let words = try await program.command("thread-values").split(separator: " ").compactMap { Int32($0) }
            // The main thread's, whose libdispatch knows it.
            #expect(words.contains(worker.pid) && !words.contains(server))
        }
    }

    @Test("what merely equals the server's number, as half of a pointer may, stays as it is in a worker")
    func equalNumber() async throws {
        guard let compiler = find("clang") ?? find("gcc") else { return }
        let folder = try TemporaryFolder()
        let source = try folder.write(
            """
            #include <pthread.h>
            #include <unistd.h>
            static __thread struct { int low, high; } pointer;
            static int copy;
            __attribute__((constructor)) static void begin(void) {
                pthread_key_t keys[2];
                pointer.high = copy = getpid();
                for (int index = 0; index < 2; index++) pthread_key_create(&keys[index], NULL);
                pthread_setspecific(keys[0], &pointer.high);
                pthread_setspecific(keys[1], &copy);
            }
            """, to: "pointer.c")
        let library = folder.path("pointer.so")
        let build = try Program(compiler, ["-shared", "-fPIC", "-pthread", "-o", library, source])
        try #require(try await build.status() == 0)
        try await TestProgram.run(["--workers=1"], environment: ["LD_PRELOAD": library]) { program in
            try await program.ready()
            let worker = try await program.started(1)[0]
            let server = try #require(program.forkServer)
            let words = try await program.command("thread-values").split(separator: " ").compactMap { Int32($0) }
            #expect(words.contains(worker.pid))
            #expect(words.count { $0 == server } == 2)
        }
    }

    @Test("main-actor code runs on a worker's main thread", arguments: backends)
    func mainActor(backend: String) async throws {
        try await TestProgram.run(["--workers=1"], backend: backend) { program in
            try await program.ready()
            for _ in 1...3 { #expect(try await program.command("main-actor") == "main") }
        }
    }

    @Test("a system that does not let it fork has its workers spawned")
    func refused() async throws {
        // clone(2), which threads and spawned processes do without.
        #if arch(x86_64)
        let call = 56
        #else
        let call = 220
        #endif
        let wrapper = [PythonTool.interpreter, "-c", SurroundingsTests.refuse, "\(call)"]
        try await TestProgram.run(["--workers=2"], wrapper: wrapper) { program in
            try await program.ready()
            try await program.logged("workers cannot be forked", "muster.start-method")
            let workers = try await program.started(2)
            _ = try await replaced(workers[0], of: program)
            #expect(program.log("workers cannot be forked").count == 1)
            _ = try await eventually("no server") { program.forkServer == nil ? true : nil }
            program.signal(SIGHUP)
            try await program.logged("reload completed")
        }
    }

    @Test("a program that has threads before its main is not forked")
    func threads() async throws {
        guard let compiler = find("clang") ?? find("gcc") else { return }
        let folder = try TemporaryFolder()
        let source = try folder.write(
            """
            #include <pthread.h>
            #include <unistd.h>
            static void *rest(void *unused) { for (;;) pause(); return unused; }
            __attribute__((constructor)) static void begin(void) {
                pthread_t thread;
                pthread_create(&thread, NULL, rest, NULL);
            }
            """, to: "threads.c")
        let library = folder.path("threads.so")
        let build = try Program(compiler, ["-shared", "-fPIC", "-pthread", "-o", library, source])
        try #require(try await build.status() == 0)
        try await TestProgram.run(["--workers=2"], environment: ["LD_PRELOAD": library]) { program in
            try await program.ready()
            try await program.logged("workers cannot be forked", "threads before its main")
            let workers = try await program.started(2)
            _ = try await replaced(workers[1], of: program)
        }
    }

    @Test("the server ends with its supervisor", arguments: [false, true])
    func orphaned(isSuspended: Bool) async throws {
        try await TestProgram.run(["--workers=1"]) { program in
            try await program.ready()
            if isSuspended { kill(try #require(program.forkServer), SIGSTOP) }
            kill(program.pid, SIGKILL)
            try await program.gone()
        }
    }
}
