// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Which ends are followed by a start", .transcript, .timeLimit(.minutes(10)))
struct RestartTests {
    @Test(
        "a service that does not start at all ends the program with status 1, and the log says why", arguments: backends
    )
    func firstStart(backend: String) async throws {
        try await TestProgram.run(["--workers=3", "--start=fail"], backend: backend) { program in
            #expect(try await program.status() == 1)
            #expect(!program.log("worker's service failed to start", "told to fail").isEmpty)
            #expect(program.lines("started").isEmpty)
            try await program.gone(within: .seconds(20))
        }
    }

    @Test("a first start that crashes is tried again, ever later", arguments: backends)
    func firstCrash(backend: String) async throws {
        try await TestProgram.run(["--workers=1", "--start=exit:3@TRIGGER"], backend: backend) { program in
            try program.pullTrigger()
            try await program.logged("worker exited", "code=3", count: 4)
            program.releaseTrigger()
            try await program.ready()
            #expect(program.lines("started").count == 1)
        }
    }

    @Test(
        "a service that does not start any more is tried again, ever later, and the others go on", arguments: backends)
    func laterStart(backend: String) async throws {
        try await TestProgram.run(["--workers=2", "--start=fail@TRIGGER"], backend: backend) { program in
            try await program.ready()
            let workers = try await program.started(2)
            try program.pullTrigger()
            kill(workers[0].pid, SIGKILL)
            try await program.logged("worker's service failed to start", "told to fail", count: 5)
            try await program.logged("restarting worker", "delay_seconds=0.1")
            #expect(program.isRunning)
            #expect(program.lines("started").count == 2)
            #expect(program.processes.contains(workers[1].pid))
            program.releaseTrigger()
            #expect(try await program.said("started", 3)[2].worker == workers[0].worker)
            try await program.metric("muster_workers", ["state": "ready"], is: 2)
        }
    }

    @Test("a restart that is delayed shows for how long and until when")
    func delayed() async throws {
        let options = ["--workers=1", "--start=fail@TRIGGER", "--muster-restart-backoff-base=30s"]
        try await TestProgram.run(options) { program in
            try await program.ready()
            try await program.metric("muster_worker_startup_seconds_count", is: 1)
            try program.pullTrigger()
            kill(try await program.started(1)[0].pid, SIGKILL)
            let due = try await eventually("a delay") {
                let next = try await program.metrics().first {
                    $0.name == "muster_worker_next_start_timestamp_seconds"
                }
                return next?.value
            }
            #expect(due > Date.now.timeIntervalSince1970 + 5 && due < Date.now.timeIntervalSince1970 + 40)
            try await program.metric("muster_workers", ["state": "backoff"], is: 1)
            // It was not told to stop.
            try await program.metric("muster_worker_stop_seconds_count", is: 0)
        }
    }

    @Test("policy never: the first worker that ends, ends all, with its verdict", arguments: [0, 3])
    func never(code: Int32) async throws {
        try await TestProgram.run(["--workers=3", "--policy=never"]) { program in
            try await program.ready()
            try await program.command("exit \(code)")
            #expect(try await program.status() == (code == 0 ? 0 : 1))
            #expect(program.lines("started").count == 3)
            #expect(program.lines("stopped").count == 2)
        }
    }

    @Test("policy on-failure: who has done its work is not started again, who fails is")
    func onFailure() async throws {
        try await TestProgram.run(["--workers=2", "--policy=on-failure"]) { program in
            try await program.ready()
            try await program.command("exit 3")
            try await program.said("started", 3)
            try await program.command("exit 0")
            try await program.logged("worker completed")
            try await program.metric("muster_workers", ["state": "ready"], is: 1)
            #expect(try await program.get("/readyz").status == 200)
            #expect(program.isRunning)
            try await program.command("exit 0")
            #expect(try await program.status() == 0)
            #expect(program.lines("started").count == 3)
        }
    }

    @Test("a worker's successor is on its way before the system has taken the dead one apart", arguments: [0, 1])
    func bell(spares: Int) async throws {
        try await TestProgram.run(["--workers=1", "--spares=\(spares)"]) { program in
            try await program.ready()
            for round in 1...10 {
                let worker = try await program.said("started", round)[round - 1]
                if spares > 0 { try await program.logged("warm spare ready", count: round) }
                try await program.command("fill 256")
                kill(worker.pid, SIGKILL)
                try await program.logged("worker exited", "signal=SIGKILL", count: round)
                let next = try await program.said("started", round + 1)[round]
                // On a busy machine the supervisor may hear the bell too late.
                guard program.log("worker is ending; replacing it", "pid=\(worker.pid) ").isEmpty else {
                    let order = program.log("worker ").filter { line in
                        line.contains("worker exited") && line.contains("pid=\(worker.pid) ")
                            || line.contains("worker started") && line.contains("pid=\(next.pid) ")
                    }
                    #expect(order.map { $0.contains("worker started") } == [true, false])
                    try await program.metric("muster_worker_restarts_total", ["reason": "signal"], is: Double(round))
                    return
                }
            }
            Issue.record("no bell was heard in ten deaths")
        }
    }

    @Test("unless the settings say that it waits for the end")
    func withoutBell() async throws {
        try await TestProgram.run(["--workers=1", "--muster-early-restart=false"]) { program in
            try await program.ready()
            let worker = try await program.started(1)[0]
            try await program.command("fill 256")
            kill(worker.pid, SIGKILL)
            try await program.said("started", 2)
            let order = program.log("worker ").filter { $0.contains("worker exited") || $0.contains("worker started") }
            #expect(order.map { $0.contains("worker started") } == [true, false, true])
            #expect(program.log("worker is ending").isEmpty)
        }
    }

    /// Kills workers as they start.
    private func kill(_ count: Int, of program: TestProgram) async throws {
        for number in 1...count {
            Foundation.kill(try await program.said("started", number)[number - 1].pid, SIGKILL)
        }
    }

    private let intensity = [
        "--muster-restart-intensity-maximum=3", "--muster-restart-intensity-period=1h",
        "--muster-restart-backoff-base=0s",
    ]

    @Test("too many restarts, escalated: the program ends with status 1", arguments: backends)
    func escalate(backend: String) async throws {
        let options = ["--workers=1", "--muster-restart-intensity-when-exceeded=escalate"] + intensity
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            try await kill(4, of: program)
            #expect(try await program.status() == 1)
            #expect(program.lines("started").count == 4)
            #expect(!program.log("restart intensity exceeded").isEmpty)
        }
    }

    @Test("too many restarts, absorbed: ready with a warning, and going on", arguments: backends)
    func absorb(backend: String) async throws {
        try await TestProgram.run(["--workers=1"] + intensity, backend: backend) { program in
            try await program.ready()
            try await kill(3, of: program)
            try await program.said("started", 4)
            _ = try await eventually("readiness") { try await program.get("/readyz").status == 200 ? true : nil }
            kill(program.lines("started")[3].pid, SIGKILL)
            try await program.said("started", 5)
            let readiness = try await eventually("readiness") {
                let answer = try await program.get("/readyz?verbose")
                return answer.status == 200 ? answer : nil
            }
            #expect(readiness.body.contains("test restarts too often"))
            #expect(try await program.get("/livez").status == 200)
            #expect(try await program.command("who") == "test/0 \(program.lines("started")[4].pid)")
        }
    }

    private func kill(_ pid: Int32, _ signal: Int32) {
        _ = Foundation.kill(pid, signal)
    }

    @Test("a service that crashes over and over neither delays nor stops another one", arguments: backends)
    func services(backend: String) async throws {
        let options = ["--workers=2", "--services=good,bad", "--only=bad", "--start=exit:3@TRIGGER"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            let workers = try await program.started(4)
            #expect(workers.map(\.worker) == ["bad/0", "bad/1", "good/0", "good/1"])
            try program.pullTrigger()
            for worker in workers where worker.worker.hasPrefix("bad") { kill(worker.pid, SIGKILL) }
            try await program.logged("worker exited", "worker=bad/0", "code=3", count: 4)
            try await program.logged("worker exited", "worker=bad/1", "code=3", count: 4)
            // A worker of the good one that dies is back at once.
            kill(workers[2].pid, SIGKILL)
            try await program.said("started", 2, by: "good/0")
            let good = Set([program.lines("started", by: "good/0")[1].pid, workers[3].pid])
            for _ in 0..<10 {
                let answer = try await program.command("who")
                #expect(good.contains { answer.hasSuffix(" \($0)") })
            }
            try await program.metric("muster_worker_restarts_total", ["worker_group": "good"], is: 1)
            let readiness = try await program.get("/readyz?verbose")
            #expect(readiness.status == 503)
            #expect(readiness.body.contains("bad has 0 of 2 workers ready"))
            #expect(!readiness.body.contains("good has"))
            program.signal(SIGTERM)
            #expect(try await program.status() == 0)
            #expect(Set(program.lines("stopped").map(\.pid)).isSuperset(of: good))
        }
    }
}
