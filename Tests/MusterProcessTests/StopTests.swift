// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Stops, in one process and under a supervisor", .transcript, .timeLimit(.minutes(10)))
struct StopTests {
    /// In one process, and in a worker.
    private static let modes = ["--in-process", "--workers=1"]

    private static let short = "--muster-graceful-shutdown-timeout=2s"

    @Test("SIGTERM: what is left shortly before the time is up is cancelled, and cleans up", arguments: modes, backends)
    func cancelled(mode: String, backend: String) async throws {
        try await TestProgram.run([mode, "--long-job", Self.short], backend: backend) { program in
            try await program.ready()
            program.signal(SIGTERM)
            // In one process, a shutdown that was cut off has failed.
            let status = try await program.status()
            #expect(status == (mode == "--in-process" ? 1 : 0))
            #expect(program.lines("cancelled").count == 1)
            #expect(program.lines("cleaned").count == 1)
            let left = try #require(Int(program.lines("stopping")[0].rest))
            #expect(left > 500 && left <= 2000)
            #expect(program.log("stop timeout exceeded").isEmpty)
        }
    }

    @Test("SIGHUP: the same, and the service starts again", arguments: modes, backends)
    func reloaded(mode: String, backend: String) async throws {
        try await TestProgram.run([mode, "--long-job", Self.short], backend: backend) { program in
            try await program.ready()
            program.signal(SIGHUP)
            try await program.said("cleaned")
            try await program.said("started", 2)
            let left = try #require(Int(program.lines("stopping")[0].rest))
            #expect(left > 500 && left <= 2000)
            #expect(program.isRunning)
            #expect(try await !program.command("who").isEmpty)
        }
    }

    @Test("SIGHUP to a worker itself: the same", arguments: backends)
    func worker(backend: String) async throws {
        try await TestProgram.run(["--workers=1", "--long-job", Self.short], backend: backend) { program in
            try await program.ready()
            let pid = try await program.started(1)[0].pid
            kill(pid, SIGHUP)
            try await program.said("cleaned")
            #expect(try await program.said("started", 2).map(\.pid) == [pid, pid])
        }
    }

    @Test("a worker's end starts no thread")
    func threads() async throws {
        guard let compiler = find("clang") ?? find("gcc") else { return }
        let folder = try TemporaryFolder()
        let source = try folder.write(
            """
            #define _GNU_SOURCE 1
            #include <dlfcn.h>
            #include <pthread.h>
            #include <stdio.h>
            #include <unistd.h>
            int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
                int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
                dprintf(1, "thread - %d\\n", getpid());
                return next(thread, attributes, body, argument);
            }
            """, to: "threads.c")
        let library = folder.path("threads.so")
        let build = try Program(compiler, ["-shared", "-fPIC", "-pthread", "-o", library, source, "-ldl"])
        try #require(try await build.status() == 0)
        try await TestProgram.run(
            ["--workers=1"], backend: "cooperative", environment: ["LD_PRELOAD": library]
        ) { program in
            try await program.ready()
            let pid = try await program.started(1)[0].pid
            let before = program.lines("thread").count { $0.pid == pid }
            kill(pid, SIGTERM)
            _ = try await eventually("the worker's end") { ProcessFiles(pid: pid).isRunning ? nil : true }
            #expect(!program.lines("thread").isEmpty)
            #expect(program.lines("thread").count { $0.pid == pid } == before)
        }
    }

    @Test("a worker that is replaced gets the time-out of its supervisor, not its own", arguments: backends)
    func told(backend: String) async throws {
        let options = ["--workers=1", "--long-job", "--muster-settings-file=SETTINGS"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            try program.set(#"{"muster": {"graceful-shutdown-timeout": "4s"}}"#)
            program.signal(SIGHUP)
            try await program.logged("reload completed")
            // What the worker has said may be read after what its supervisor has logged.
            try await program.said("cleaned")
            let left = try #require(Int(program.lines("stopping")[0].rest))
            #expect(left <= 4000)
            #expect(program.log("stop timeout exceeded").isEmpty)
        }
    }

    @Test("a restart that is asked for before the start follows it", arguments: modes, backends)
    func early(mode: String, backend: String) async throws {
        try await TestProgram.run([mode, "--restart-early"], backend: backend) { program in
            if mode == "--in-process" {
                try await program.said("started", 2)
            } else {
                // Its predecessor may not have come as far as its start.
                try await program.logged("reload completed")
                try await program.said("started")
            }
            #expect(try await !program.command("who").isEmpty)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }

    @Test("a job that waits for connections delays no stop", arguments: modes, backends)
    func accepting(mode: String, backend: String) async throws {
        try await TestProgram.run([mode, "--muster-graceful-shutdown-timeout=1h"], backend: backend) { program in
            try await program.ready()
            program.signal(SIGHUP)
            try await program.said("started", 2)
            try await program.said("stopped")
            #expect(try await !program.command("who").isEmpty)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            try await program.gone(within: .seconds(20))
            #expect(!FileManager.default.fileExists(atPath: program.socketPath))
        }
    }

    @Test("a stop that forgets its thread group is warned of", arguments: modes, backends)
    func forgotten(mode: String, backend: String) async throws {
        try await TestProgram.run([mode, "--stop=forget", "--long-job"], backend: backend) { program in
            try await program.ready()
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            #expect(program.log("service stopped without its thread group", "long").count == 1)
        }
    }

    // MARK: What the program sets

    @Test("SIGHUP goes by what the program has set after loading", arguments: modes, backends)
    func chosen(mode: String, backend: String) async throws {
        let options = [
            mode, "--long-job", "--set-method=mutate", "--set-timeout=2s", "--muster-settings-file=SETTINGS",
        ]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            try program.set(#"{"muster": {"graceful-shutdown-timeout": "1h", "restart-method": "reload"}}"#)
            for count in 1...2 {
                program.signal(SIGHUP)
                try await program.said("reset", count)
            }
            // What a service loads in a worker is what its supervisor goes by.
            if mode != "--in-process" { #expect(try await program.command("timeout") == "2 10") }
            program.signal(SIGTERM)
            _ = try await program.status()
            #expect(program.lines("started").count == 1)
            #expect(program.lines("cleaned").count == 1)
            let left = try #require(Int(program.lines("stopping")[0].rest))
            #expect(left <= 2000)
        }
    }

    @Test("SIGHUP goes by the method that the launcher was given", arguments: modes, backends)
    func given(mode: String, backend: String) async throws {
        let options = [mode, "--method=mutate", "--muster-settings-file=SETTINGS"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            try program.set(#"{"muster": {"restart-method": "reload"}}"#)
            for count in 1...2 {
                program.signal(SIGHUP)
                try await program.said("reset", count)
            }
            #expect(program.lines("started").count == 1)
        }
    }

    // MARK: Starts and signals

    @Test("a start that fails in one slot ends the program, whichever worker is first", arguments: [0, 1], backends)
    func firstStart(slot: Int, backend: String) async throws {
        let options = ["--workers=2", "--start=fail", "--start-slot=\(slot)"]
        for _ in 0..<3 {
            try await TestProgram.run(options, backend: backend) { program in
                let status = try await program.status()
                #expect(status == 1)
            }
        }
    }

    @Test("a start that does not end is told of, with the remedy", arguments: modes, backends)
    func hangingStart(mode: String, backend: String) async throws {
        let options = [mode, "--start=hang", "--muster-startup-timeout=2s", Self.short]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.logged("service has not started yet", "start() has to return")
            if mode != "--in-process" { try await program.logged("startup timeout exceeded", "start() has to return") }
        }
    }

    @Test("a signal handler that the program does not keep works", arguments: modes, backends)
    func userSignal(mode: String, backend: String) async throws {
        try await TestProgram.run([mode, "--user-signal"], backend: backend) { program in
            try await program.ready()
            let pid = try await program.started(1)[0].pid
            for count in 1...2 {
                kill(pid, SIGUSR1)
                #expect(try await program.said("handled", count).map(\.pid).last == pid)
            }
        }
    }
}
