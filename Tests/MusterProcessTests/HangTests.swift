// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterPlatform
import MusterTestKit
import MusterTestSupport
import Testing

@Suite("Workers that hang", .transcript, .timeLimit(.minutes(10)))
struct HangTests {
    private let limit = "--muster-liveness-limit=4s"
    /// Long enough for writing backtraces on a machine that has other things to do.
    private let grace = "--muster-abort-grace=60s"

    /// Waits until a hung worker has been found, reported, ended and replaced, and nobody else has been.
    private func replaced(_ pid: Int32, in program: TestProgram) async throws {
        let new = try await program.said("started", 3)[2]
        try await program.logged("worker hung", "pid=\(pid)", "limit_seconds=4")
        try await program.logged("worker exited", "pid=\(pid)", "reason=heartbeat")
        let slot = String(new.worker.dropFirst("test/".count))
        try await program.metric("muster_worker_restarts_total", ["worker": slot, "reason": "heartbeat"], is: 1)
        try await program.metric("muster_worker_restarts_total", is: 1)
        try await program.metric("muster_workers", ["state": "ready"], is: 2)
        #expect(try await program.get("/livez").status == 200)
    }

    @Test("one that was stopped by a signal is found and replaced", arguments: backends)
    func stopped(backend: String) async throws {
        try await TestProgram.run(["--workers=2", limit], backend: backend) { program in
            try await program.ready()
            let begin = ContinuousClock.now
            let pid = try await program.started(2)[0].pid
            kill(pid, SIGSTOP)
            try await replaced(pid, in: program)
            #expect(begin.duration(to: .now) >= .seconds(4))
            #expect(!program.log("suspended by a signal").isEmpty)
        }
    }

    @Test("one that goes on before the limit is left alone", arguments: backends)
    func continued(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--muster-liveness-limit=5s"], backend: backend) { program in
            try await program.ready()
            let workers = try await program.started(2)
            kill(workers[0].pid, SIGSTOP)
            try await program.logged("worker suspended")
            kill(workers[0].pid, SIGCONT)
            // The other one goes on counting as stopped until the limit, so that its end is the event to wait for.
            kill(workers[1].pid, SIGSTOP)
            try await program.logged("worker exited", "pid=\(workers[1].pid)", "reason=heartbeat")
            try await program.said("started", 3)
            #expect(program.processes.contains(workers[0].pid))
            #expect(program.log("worker hung").count == 1)
            try await program.metric("muster_worker_restarts_total", is: 1)
        }
    }

    @Test("a blocked loop is found, and the backtrace shows where it hangs")
    func blockedLoop() async throws {
        try await TestProgram.run(["--workers=2", limit, grace], backend: "cooperative") { program in
            try await program.ready()
            let connection = try program.submit("block")
            let pid = try await program.said("blocking")[0].pid
            try await replaced(pid, in: program)
            #expect(!program.log("blockOnPurpose").isEmpty)
            withExtendedLifetime(connection) {}
        }
    }

    @Test("a deadlocked looping call is found, and the backtrace shows the deadlock", arguments: backends)
    func deadlock(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--loop", limit, grace], backend: backend) { program in
            try await program.ready()
            let connection = try program.submit("deadlock")
            let pid = try await program.said("blocking")[0].pid
            try await replaced(pid, in: program)
            #expect(!program.log("deadlockOnPurpose").isEmpty)
            withExtendedLifetime(connection) {}
        }
    }

    @Test(
        "one whose looping call only lasts is left alone", arguments: backends, ["sleep", "retry", "block-on-purpose"])
    func longRuns(backend: String, run: String) async throws {
        let options = ["--workers=2", "--timer=\(run)", "--muster-liveness-limit=1s"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            // Each run takes three times the limit.
            try await program.said("ran", 4)
            #expect(program.log("worker hung").isEmpty)
            try await program.metric("muster_worker_restarts_total", is: 0)
            #expect(try await program.get("/livez").status == 200)
        }
    }

    @Test("one whose looping call exceeds the stall limit that it was given is replaced", arguments: backends)
    func stallLimit(backend: String) async throws {
        let options = ["--workers=1", "--timer=stall", "--muster-liveness-limit=60s", grace]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            let pid = try await program.started(1)[0].pid
            try await program.logged("worker hung", "pid=\(pid)", "looping call overdue beyond its stall limit")
            try await program.logged("worker exited", "pid=\(pid)", "reason=heartbeat")
        }
    }

    @Test("one whose looping call blocks its thread is replaced, on the backend where only that loop notices")
    func blockedThread() async throws {
        let options = ["--workers=1", "--timer=block", limit, grace]
        try await TestProgram.run(options, backend: "threading") { program in
            let pid = try await program.said("run", 1)[0].pid
            try await program.logged("worker hung", "pid=\(pid)", "thread of a looping call blocked", "limit_seconds=4")
            try await program.logged("worker exited", "pid=\(pid)", "reason=heartbeat")
        }
    }

    @Test("one that does not write its backtrace in time is killed")
    func deaf() async throws {
        // Stopped and blocked: it takes no signal but SIGKILL.
        let options = ["--workers=2", limit, "--muster-abort-grace=1ms"]
        try await TestProgram.run(options, backend: "cooperative") { program in
            try await program.ready()
            let connection = try program.submit("block")
            let pid = try await program.said("blocking")[0].pid
            try await replaced(pid, in: program)
            withExtendedLifetime(connection) {}
        }
    }

    @Test(
        "a start-up that does not come to an end is given up and tried again", arguments: backends, ["hang", "block"])
    func startup(backend: String, start: String) async throws {
        let options = ["--workers=1", "--start=\(start)@TRIGGER", "--muster-startup-timeout=8s", grace]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            try program.pullTrigger()
            kill(try await program.started(1)[0].pid, SIGKILL)
            let hung = try await program.said("starting", 2)[1]
            try await program.logged("startup timeout exceeded; terminating worker", "pid=\(hung.pid)")
            program.releaseTrigger()
            try await program.logged("worker exited", "pid=\(hung.pid)", "reason=startup_timeout")
            try await program.said("started", 2)
            let samples = try await program.metrics()
            #expect(samples.sum("muster_worker_restarts_total", ["reason": "startup_timeout"]) >= 1)
            #expect(samples.sum("muster_worker_restarts_total", ["reason": "heartbeat"]) == 0)
        }
    }

    @Test("when all are suspended and the supervisor goes on first, nobody is killed", arguments: backends)
    func allStopped(backend: String) async throws {
        let limit = Duration.seconds(2)
        try await TestProgram.run(
            ["--workers=2", "--loop", "--muster-liveness-limit=2s"], backend: backend
        ) { program in
            try await program.ready()
            let workers = try await program.started(2).map(\.pid)
            for pid in [program.pid] + workers { kill(pid, SIGSTOP) }
            // Time that passes is what this is about.
            try await Task.sleep(for: limit * 3)
            kill(program.pid, SIGCONT)
            try await program.logged("worker suspended", count: 2)
            for pid in workers { kill(pid, SIGCONT) }
            for _ in 0..<8 { #expect(try await !program.command("who").isEmpty) }
            try await Task.sleep(for: limit * 2)
            #expect(program.log("worker hung").isEmpty)
            try await program.metric("muster_worker_restarts_total", is: 0)
        }
    }

    @Test("one that tells the supervisor of a turn while both are suspended is given time to end it")
    func stoppedInTurn() async throws {
        let limit = Duration.seconds(2)
        let options = ["--workers=1", "--muster-liveness-limit=2s", grace]
        try await TestProgram.run(options, backend: "cooperative") { program in
            try await program.ready()
            let pipe = program.folder.path("pipe")
            #expect(mkfifo(pipe, 0o600) == 0)
            kill(program.pid, SIGSTOP)
            async let answer = program.command("open \(pipe)")
            let worker = try await program.said("blocking")[0].pid
            kill(worker, SIGSTOP)
            let writer = open(pipe, O_RDWR)
            defer { close(writer) }
            // Time that passes is what this is about.
            try await Task.sleep(for: limit * 1.5)
            kill(program.pid, SIGCONT)
            try await program.logged("worker suspended")
            kill(worker, SIGCONT)
            #expect(try await !answer.isEmpty)
            #expect(program.log("worker hung").isEmpty)
            try await program.metric("muster_worker_restarts_total", is: 0)
        }
    }

    @Test("one that is starting while both are suspended is given time to be ready")
    func stoppedInStart() async throws {
        let options = [
            "--workers=1", "--start=open@TRIGGER", "--muster-startup-timeout=4s", "--muster-liveness-limit=8s",
        ]
        try await TestProgram.run(options) { program in
            try await program.ready()
            let pipe = program.folder.path("trigger")
            #expect(mkfifo(pipe, 0o600) == 0)
            kill(try await program.started(1)[0].pid, SIGKILL)
            let new = try await program.said("starting", 2)[1].pid
            for pid in [program.pid, new] { kill(pid, SIGSTOP) }
            // Time that passes is what this is about: the time-out, and more than a quarter of the limit.
            try await Task.sleep(for: .seconds(8))
            kill(program.pid, SIGCONT)
            try await program.logged("supervisor was delayed")
            let writer = open(pipe, O_RDWR)
            defer { close(writer) }
            kill(new, SIGCONT)
            #expect(try await program.said("started", 2)[1].pid == new)
            try await program.metric("muster_worker_restarts_total", ["reason": "startup_timeout"], is: 0)
        }
    }

    @Test("one that was suspended does not delay the end", arguments: backends)
    func stoppedAtTheEnd(backend: String) async throws {
        // The time-out is that of the settings, a minute.
        try await TestProgram.run(["--workers=2"], backend: backend) { program in
            try await program.ready()
            kill(try await program.started(2)[0].pid, SIGSTOP)
            try await program.logged("worker suspended")
            let begin = ContinuousClock.now
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            #expect(begin.duration(to: .now) < .seconds(30))
        }
    }

    @Test("one that is suspended while it starts is killed at its time-out at once")
    func stoppedWhileStarting() async throws {
        let options = [
            "--workers=2", "--start=hang@TRIGGER", "--muster-startup-timeout=2s", "--muster-abort-grace=60s",
        ]
        try await TestProgram.run(options) { program in
            try await program.ready()
            let first = try await program.started(2)
            try program.pullTrigger()
            kill(first[0].pid, SIGKILL)
            let new = try await program.said("starting", 3)[2]
            kill(new.pid, SIGSTOP)
            try await program.logged("startup timeout exceeded", "pid=\(new.pid)")
            let begin = ContinuousClock.now
            try await program.logged("worker exited", "pid=\(new.pid)", "reason=startup_timeout")
            #expect(begin.duration(to: .now) < .seconds(30))
        }
    }

    @Test("one that crashes before it can tell, and does not end, is found")
    func earlyCrash() async throws {
        let folder = try TemporaryFolder()
        // A program for backtraces that never comes to an end.
        let backtracer = try folder.write("#!/bin/sh\nread line < \(folder.path("wait"))\n", to: "swift-backtrace")
        #expect(chmod(backtracer, 0o700) == 0)
        #expect(mkfifo(folder.path("wait"), 0o600) == 0)
        let options = ["--workers=1", "--crash-early", "--muster-abort-grace=1s"]
        let environment = ["SWIFT_BACKTRACE": "enable=yes,swift-backtrace=\(backtracer)"]
        try await TestProgram.run(options, environment: environment) { program in
            let begin = ContinuousClock.now
            try await program.logged("did not end after a crash", count: 2)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            // And not the time-outs of its start or stop.
            #expect(begin.duration(to: .now) < .seconds(30))
        }
    }

    @Test("crashes amid a storm of signals leave nobody behind, and delay no end", arguments: backends)
    func storm(backend: String) async throws {
        let options = [
            "--workers=4", "--muster-abort-grace=5s", "--muster-restart-intensity-maximum=0", "--loop",
        ]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            var random = SplitMix64(seed: 5)
            let signals = [SIGABRT, SIGSEGV, SIGTERM, SIGSTOP, SIGCONT]
            for _ in 0..<40 {
                for pid in program.titledProcesses {
                    kill(pid, signals[Int.random(in: 0..<signals.count, using: &random)])
                }
                try await Task.sleep(for: .milliseconds(Int.random(in: 0...150, using: &random)))
            }
            let begin = ContinuousClock.now
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            // A crash has its grace, and nothing has a minute.
            #expect(begin.duration(to: .now) < .seconds(30))
        }
    }
}
