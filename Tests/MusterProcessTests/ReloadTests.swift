// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Reloads", .transcript, .timeLimit(.minutes(10)))
struct ReloadTests {
    @Test("SIGHUP replaces every worker, and no client notices", arguments: backends)
    func roll(backend: String) async throws {
        try await TestProgram.run(["--workers=3"], backend: backend) { program in
            try await program.ready()
            let old = Set(try await program.started(3).map(\.pid))
            let client = Client(of: program)
            program.signal(SIGHUP)
            try await program.logged("reload completed")
            let served = try await client.end()
            #expect(served > 0)
            let new = try await program.started(6)
            #expect(new.map(\.worker) == ["test/0", "test/1", "test/2"])
            #expect(old.isDisjoint(with: new.map(\.pid)))
            #expect(Set(program.lines("stopped").map(\.pid)) == old)
            try await program.metric(
                "muster_reloads_total", ["method": "reload", "outcome": "completed"], is: 1)
            try await program.metric("muster_worker_restarts_total", ["reason": "reload"], is: 3)
            try await program.metric("muster_worker_restarts_total", is: 3)
            try await program.metric("muster_reload_seconds_count", ["method": "reload"], is: 1)
            try await program.metric("muster_worker_stop_seconds_count", ["worker_group": "test"], is: 3)
            try await program.metric("muster_worker_startup_seconds_count", is: 6)
            try await program.metric("muster_service_transition_seconds_count", ["transition": "start"], is: 6)
            try await program.metric("muster_workers", ["state": "ready"], is: 3)
        }
    }

    @Test("two in a row are survived, and SIGTERM ends as ever", arguments: backends)
    func twice(backend: String) async throws {
        try await TestProgram.run(["--workers=2"], backend: backend) { program in
            try await program.ready()
            program.signal(SIGHUP)
            try await program.logged("reload started")
            program.signal(SIGHUP)
            try await program.logged("reload completed", count: 2)
            #expect(program.lines("started").count == 6)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
        }
    }

    @Test("SIGTERM amid a reload ends gracefully", arguments: backends)
    func ended(backend: String) async throws {
        try await TestProgram.run(["--workers=3"], backend: backend) { program in
            try await program.ready()
            program.signal(SIGHUP)
            try await program.said("starting", 4)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            try await program.gone(within: .seconds(20))
        }
    }

    @Test("one whose first new worker does not start is given up, the old ones go on", arguments: backends)
    func aborted(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--start=fail@TRIGGER"], backend: backend) { program in
            try await program.ready()
            let old = try await program.started(2).map(\.pid)
            try program.pullTrigger()
            program.signal(SIGHUP)
            try await program.logged("reload aborted")
            try await program.logged("failed to start", "told to fail")
            try await program.metric("muster_reloads_total", ["outcome": "aborted"], is: 1)
            try await program.metric("muster_reloads_total", is: 1)
            try await program.metric("muster_worker_restarts_total", is: 0)
            #expect(try await program.started(2).map(\.pid) == old)
            #expect(Set(program.processes.filter { $0 != program.forkServer }) == Set(old + [program.pid]))
            #expect(try await program.get("/readyz").status == 200)
            program.releaseTrigger()
            program.signal(SIGHUP)
            try await program.logged("reload completed")
            #expect(Set(try await program.started(4).map(\.pid)).isDisjoint(with: old))
        }
    }

    @Test("one whose first new worker hangs is given up after the start-up timeout")
    func hanging() async throws {
        let options = ["--workers=2", "--start=hang@TRIGGER", "--muster-startup-timeout=8s"]
        try await TestProgram.run(options) { program in
            try await program.ready()
            let old = try await program.started(2).map(\.pid)
            try program.pullTrigger()
            program.signal(SIGHUP)
            try await program.logged("reload aborted")
            #expect(try await program.started(2).map(\.pid) == old)
            #expect(program.log("startup timeout exceeded; terminating worker").count == 1)
        }
    }

    @Test("the processor time of a slot does not fall while the predecessor still stops", arguments: backends)
    func processorTime(backend: String) async throws {
        let options = ["--workers=1", "--stop=hang", "--muster-graceful-shutdown-timeout=4s"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            // So that the old one has spent some.
            for _ in 0..<200 { try await program.command("who") }
            var last = 0.0
            program.signal(SIGHUP)
            _ = try await eventually("the end of the reload") {
                let now = try #require(try await program.scrape().sum("muster_worker_cpu_seconds_total"))
                #expect(now >= last)
                last = now
                return program.log("reload completed").isEmpty ? nil : true
            }
            #expect(try #require(try await program.scrape().sum("muster_worker_cpu_seconds_total")) >= last)
        }
    }

    @Test("method mutate: the services take up the settings in place", arguments: backends)
    func mutate(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--muster-restart-method=mutate"], backend: backend) { program in
            try await program.ready()
            let pids = Set(try await program.started(2).map(\.pid))
            program.signal(SIGHUP)
            #expect(Set(try await program.said("reset", 2).map(\.pid)) == pids)
            try await program.logged("reload completed")
            program.signal(SIGHUP)
            let lines = try await program.said("reset", 4)
            #expect(lines.map(\.rest).sorted() == ["1", "1", "2", "2"])
            try await program.metric(
                "muster_reloads_total", ["method": "mutate", "outcome": "completed"], is: 2)
            #expect(Set(try await program.started(2).map(\.pid)) == pids)
            #expect(program.lines("started").count == 2)
        }
    }

    @Test("SIGHUP to a worker by method mutate: its service takes up the settings", arguments: backends)
    func mutateWorker(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--muster-restart-method=mutate"], backend: backend) { program in
            try await program.ready()
            let worker = try await program.started(2)[1]
            kill(worker.pid, SIGHUP)
            #expect(try await program.said("reset")[0].pid == worker.pid)
            #expect(program.lines("started").count == 2)
        }
    }

    // MARK: The settings file

    @Test("the settings file is read again: another method of reload holds at once")
    func fileChanges() async throws {
        try await TestProgram.run(["--workers=2", "--muster-settings-file=SETTINGS"]) { program in
            try await program.ready()
            let old = Set(try await program.started(2).map(\.pid))
            program.signal(SIGHUP)
            try await program.logged("reload completed")
            let new = Set(try await program.started(4).map(\.pid))
            #expect(new.isDisjoint(with: old))
            try program.set(#"{"muster": {"restart-method": "mutate"}}"#)
            program.signal(SIGHUP)
            #expect(Set(try await program.said("reset", 2).map(\.pid)) == new)
            #expect(program.lines("started").count == 4)
        }
    }

    @Test("the settings file is read again: other limits hold for the workers that there are")
    func limitsChange() async throws {
        let options = ["--workers=2", "--stop=hang", "--muster-restart-method=mutate"]
        try await TestProgram.run(options, environment: ["MUSTER_SETTINGS_FILE": "SETTINGS"]) { program in
            try await program.ready()
            try program.set(#"{"muster": {"graceful-shutdown-timeout": "500ms"}}"#)
            program.signal(SIGHUP)
            try await program.said("reset", 2)
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            #expect(program.log("stop timeout exceeded; killing worker").count == 2)
        }
    }

    @Test(
        "a settings file that cannot be used changes nothing, and says so",
        arguments: [#"{"muster": "#, #"{"muster": {"liveness-limit": "soon"}}"#])
    func brokenFile(text: String) async throws {
        try await TestProgram.run(["--workers=2", "--muster-settings-file=SETTINGS"]) { program in
            try await program.ready()
            let pids = try await program.started(2).map(\.pid)
            try program.set(text)
            program.signal(SIGHUP)
            try await program.logged("invalid settings; keeping the previous ones")
            try await program.metric("muster_reloads_total", ["outcome": "refused"], is: 1)
            try await program.metric("muster_reloads_total", is: 1)
            #expect(try await program.started(2).map(\.pid) == pids)
            // What dies meanwhile is replaced all the same, if its new process can read the settings at all.
            try program.set("{}")
            program.signal(SIGHUP)
            try await program.logged("reload completed")
            #expect(Set(try await program.started(4).map(\.pid)).isDisjoint(with: pids))
        }
    }
}
