// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import Muster
import MusterExecution
import MusterMetrics
import MusterPlatform
import MusterTestKit
import Testing

extension ProcessWide {
    @Suite("The service launcher", .timeLimit(.minutes(5)))
    struct ServiceLauncherTests {
        private let calls = Recorder<String>()

        // MARK: Graceful ends

        @Test("SIGTERM stops the services in reverse order, and the status is 0", arguments: bothBackends)
        func terminate(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                try program.launcher.launchService(ProbeService("a", calls))
                try program.launcher.launchService(ProbeService("b", calls))
                let running = try await program.start()
                #expect(calls.all == ["a.start", "b.start"])
                #expect(Disposition(of: .terminate) == .handled)
                kill(getpid(), SIGTERM)
                #expect(await running.value == .success)
                #expect(calls.all == ["a.start", "b.start", "b.stopGracefully", "a.stopGracefully"])
                #expect(program.exits.count == 0)
                #expect(program.launcher.failure == nil)
                #expect(backend.metrics.value("muster_signals_total", ["signal": "SIGTERM"]) == 1)
                #expect(backend.metrics.value("muster_signals_total", ["signal": "SIGHUP"]) == 0)
                for (transition, count) in [("start", 1.0), ("stop", 1), ("restart", 0), ("reset", 0)] {
                    let name = "muster_service_transition_seconds_count"
                    #expect(backend.metrics.value(name, ["transition": transition]) == MetricValue(count))
                }
                for signal in [UnixSignal.terminate, .interrupt, .hangUp] {
                    #expect(Disposition(of: signal) == .byDefault)
                }
            }
        }

        @Test("A synchronous main runs it as well", arguments: bothBackends)
        func synchronous(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                try program.launcher.launchService(ProbeService("a", calls))
                let ended = Completion<Muster.ExitStatus>()
                try NativeThread.start(name: "main-like", stackSize: nil) {
                    ended.complete(with: program.launcher.wait())
                }
                try await program.ready.wait()
                kill(getpid(), SIGTERM)
                #expect(try await ended.wait() == .success)
                #expect(calls.all == ["a.start", "a.stopGracefully"])
                // The hub goes on for whoever still uses it.
                try await backend.engine.spawn(name: "afterwards") {}.wait()
            }
        }

        @Test("A launched service runs on the selected backend", arguments: bothBackends)
        func launched(type: BackendType) async throws {
            try await TestBackend.with(type) { _ in
                let started = Completion<String?>()
                let service = ThreadGroupService(name: "launched") { group in
                    try await group.addThread(name: "thread") { started.complete(with: Job.current?.group) }
                }
                let launcher = try launch(service, settings: MusterSettings(endpoint: nil))
                let running = Task { await launcher.run() }
                #expect(try await started.wait() == "launched")
                launcher.stop()
                #expect(await running.value == .success)
            }
        }

        @Test("The program may end it, with a status of its own", arguments: bothBackends)
        func stop(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                try program.launcher.launchService(ProbeService("a", calls))
                let running = try await program.start()
                program.launcher.stop(Muster.ExitStatus(rawValue: 7))
                program.launcher.stop(.success)
                #expect(await running.value == Muster.ExitStatus(rawValue: 7))
                #expect(calls.all == ["a.start", "a.stopGracefully"])
                #expect(program.exits.count == 0)
            }
        }

        @Test("A cancelled task stops it gracefully", arguments: bothBackends)
        func cancelled(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                try program.launcher.launchService(ProbeService("a", calls))
                let running = try await program.start()
                running.cancel()
                #expect(await running.value == .success)
                #expect(calls.all == ["a.start", "a.stopGracefully"])
            }
        }

        @Test("SIGTERM during the start starts no further service, and the status is 0", arguments: bothBackends)
        func terminateDuringStart(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let gate = Completion<Void>()
                let caught = Completion<Void>()
                try program.launcher.launchService(
                    ProbeService("a", calls, onStart: { try await gate.wait() }))
                try program.launcher.launchService(ProbeService("b", calls))
                let signals = try SignalHandler(backend: backend)
                try signals.addHandler(for: .terminate) { _ in caught.complete(with: ()) }
                let running = Task { await program.launcher.run() }
                try await calls.first(1)
                kill(getpid(), SIGTERM)
                // Both have been told when the one that subscribed first, and so is told last, has been.
                try await caught.wait()
                while await !program.failures(at: .ready).contains("shutdown has begun") { await Task.yield() }
                gate.complete(with: ())
                #expect(await running.value == .success)
                #expect(calls.all == ["a.start", "a.stopGracefully"])
                #expect(program.launcher.failure == nil)
                #expect(program.ready.value == nil)
                signals.clear()
            }
        }

        // MARK: Forced ends

        @Test("A stop longer than the time-out ends the process once, with status 1", arguments: bothBackends)
        func timeout(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend, timeout: .milliseconds(100))
                let gate = Completion<Void>()
                try program.launcher.launchService(ProbeService("a", calls, onStop: { try await gate.wait() }))
                let running = try await program.start()
                kill(getpid(), SIGTERM)
                #expect(try await program.exits.first(1) == [.failure])
                #expect(await running.value == .failure)
                gate.complete(with: ())
                try await backend.engine.shutDown()
                #expect(program.exits.count == 1)
                #expect(
                    program.log.metadata("reason", of: "immediate shutdown") == ["graceful shutdown timeout exceeded"])
            }
        }

        @Test("Without a time-out a stop may take as long as it likes", arguments: bothBackends)
        func noTimeout(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend, timeout: .zero)
                let gate = Completion<Void>()
                try program.launcher.launchService(ProbeService("a", calls, onStop: { try await gate.wait() }))
                let running = try await program.start()
                program.launcher.stop()
                try await calls.first(2)
                gate.complete(with: ())
                #expect(await running.value == .success)
                #expect(program.exits.count == 0)
            }
        }

        @Test("A second SIGTERM ends the process at once", arguments: bothBackends)
        func secondTerminate(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let gate = Completion<Void>()
                try program.launcher.launchService(ProbeService("a", calls, onStop: { try await gate.wait() }))
                let running = try await program.start()
                kill(getpid(), SIGTERM)
                try await calls.first(2)
                #expect(program.exits.count == 0)
                kill(getpid(), SIGTERM)
                #expect(try await program.exits.first(1) == [.failure])
                #expect(await running.value == .failure)
                #expect(program.log.metadata("reason", of: "immediate shutdown") == ["second SIGTERM"])
                gate.complete(with: ())
            }
        }

        @Test("SIGINT ends the process at once", arguments: bothBackends)
        func interrupt(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                try program.launcher.launchService(ProbeService("a", calls))
                let running = try await program.start()
                kill(getpid(), SIGINT)
                #expect(try await program.exits.first(1) == [.failure])
                #expect(await running.value == .failure)
                #expect(calls.all == ["a.start"])
            }
        }

        @Test("The time-out holds although a job blocks its thread", arguments: bothBackends)
        func blocked(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend, timeout: .milliseconds(100))
                let gate = BlockingGate()
                let blocking = Completion<Void>()
                let service = ThreadGroupService(name: "stuck", backend: backend) { group in
                    try await group.addThread(name: "stuck") {
                        blocking.complete(with: ())
                        gate.pass()
                    }
                }
                try program.launcher.launchService(service)
                let running = try await program.start()
                try await blocking.wait()
                kill(getpid(), SIGTERM)
                #expect(try await program.exits.first(1) == [.failure])
                gate.open()
                #expect(await running.value == .failure)
            }
        }

        // MARK: Failures

        @Test("A service that fails to start makes the status 1", arguments: bothBackends)
        func failingStart(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                try program.launcher.launchService(ProbeService("a", calls))
                try program.launcher.launchService(ProbeService("b", calls, onStart: { throw TestFailure("no disk") }))
                try program.launcher.launchService(ProbeService("c", calls))
                #expect(await program.launcher.run() == .failure)
                #expect(calls.all == ["a.start", "b.start", "b.stop", "a.stop"])
                #expect(program.launcher.failure.map { "\($0)" } == "service 'b' failed to start: no disk")
                #expect(program.exits.count == 0)
                #expect(program.ready.value == nil)
                #expect(Disposition(of: .terminate) == .byDefault)
            }
        }

        @Test("An address that is in use makes the status 1, and the error says what to do", arguments: bothBackends)
        func addressInUse(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let first = try LaunchedProgram(
                    backend, endpoint: EndpointConfiguration(address: .tcp(host: "127.0.0.1", port: 0)))
                let running = try await first.start()
                let address = try #require(first.launcher.monitoring.address)
                let other = try TestBackend.make(type)
                let second = try LaunchedProgram(other, endpoint: EndpointConfiguration(address: address))
                try second.launcher.launchService(ProbeService("a", calls))
                #expect(await second.launcher.run() == .failure)
                #expect(calls.all.isEmpty)
                let error = try #require(second.launcher.failure)
                #expect("\(error)".contains("the port is in use"))
                try await other.engine.shutDown()
                first.launcher.stop()
                #expect(await running.value == .success)
                #expect(first.launcher.monitoring.address == nil)
            }
        }

        @Test("It runs once", arguments: bothBackends)
        func once(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let running = try await program.start()
                #expect(await program.launcher.run() == .failure)
                #expect(program.launcher.wait() == .failure)
                program.launcher.stop()
                #expect(await running.value == .success)
                #expect(throws: ServicesError.self) { try program.launcher.launchService(ProbeService("late", calls)) }
            }
        }

        @Test("A number of workers other than one is refused", arguments: bothBackends)
        func workers(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                for workers in [0, 2] {
                    let error = #expect(throws: ServicesError.self) {
                        try program.launcher.launchService(ProbeService("a", calls), workers: workers)
                    }
                    #expect(error?.description.contains("must be 1") == true)
                }
                #expect(program.launcher.services.all.isEmpty)
            }
        }

        // MARK: Restarts

        @Test("SIGHUP restarts the services", arguments: bothBackends)
        func reload(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                try program.launcher.launchService(ProbeService("a", calls))
                let running = try await program.start()
                kill(getpid(), SIGHUP)
                #expect(try await calls.first(4) == ["a.start", "a.stopGracefully", "a.reset", "a.start"])
                while await !program.failures(at: .ready).isEmpty { await Task.yield() }
                program.launcher.restart()
                try await calls.first(7)
                kill(getpid(), SIGTERM)
                #expect(await running.value == .success)
            }
        }

        @Test("SIGHUP lets the services take up new settings", arguments: bothBackends)
        func mutate(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend, restartMethod: .mutate)
                try program.launcher.launchService(ProbeService("a", calls))
                let running = try await program.start()
                kill(getpid(), SIGHUP)
                #expect(try await calls.first(2) == ["a.start", "a.reset"])
                kill(getpid(), SIGTERM)
                #expect(await running.value == .success)
                #expect(calls.all == ["a.start", "a.reset", "a.stopGracefully"])
            }
        }

        @Test("A service that does not start again ends it with status 1", arguments: bothBackends)
        func reloadFails(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let starts = Recorder<Void>()
                try program.launcher.launchService(
                    ProbeService("a", calls, onStart: { if starts.append(()) == 2 { throw TestFailure() } }))
                let running = try await program.start()
                kill(getpid(), SIGHUP)
                #expect(await running.value == .failure)
                #expect(program.launcher.failure.map { "\($0)" } == "service 'a' failed to start: deliberate")
            }
        }

        // MARK: Readiness and monitoring

        @Test("It is ready only while all services run", arguments: bothBackends)
        func readiness(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let startGate = Completion<Void>()
                let stopGate = Completion<Void>()
                try program.launcher.launchService(
                    ProbeService(
                        "a", calls, onStart: { try await startGate.wait() }, onStop: { try await stopGate.wait() }))
                #expect(await program.failures(at: .ready) == ["services are starting"])
                #expect(await program.failures(at: .startup) == ["services are starting"])
                let running = Task { await program.launcher.run() }
                try await calls.first(1)
                #expect(await program.failures(at: .ready) == ["services are starting"])
                #expect(await program.failures(at: .live) == [])
                startGate.complete(with: ())
                try await program.ready.wait()
                #expect(await program.failures(at: .ready) == [])
                #expect(await program.failures(at: .startup) == [])
                program.launcher.stop()
                try await calls.first(2)
                #expect(await program.failures(at: .ready) == ["shutdown has begun"])
                // The start-up is over for good.
                #expect(await program.failures(at: .startup) == [])
                stopGate.complete(with: ())
                _ = await running.value
                #expect(await program.failures(at: .ready) == ["shutdown is over"])
            }
        }

        @Test("What is to be done when it is ready is done, also when it is already", arguments: bothBackends)
        func whenReady(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let done = Recorder<Int>()
                program.launcher.whenReady { done.append(1) }
                let running = try await program.start()
                try await done.first(1)
                program.launcher.whenReady { done.append(2) }
                #expect(done.all == [1, 2])
                program.launcher.stop()
                _ = await running.value
                program.launcher.whenReady { done.append(3) }
                #expect(done.all == [1, 2])
            }
        }

        @Test("A hub that is blocked fails liveness")
        func blockedHub() async throws {
            try await TestBackend.with(.cooperative) { backend in
                let program = try LaunchedProgram(backend, livenessLimit: .milliseconds(20))
                let gate = BlockingGate()
                let blocking = Completion<Void>()
                try backend.engine.spawn(name: "blocking") {
                    blocking.complete(with: ())
                    gate.pass()
                }
                try await blocking.wait()
                var reasons: [String] = []
                while reasons.isEmpty {
                    reasons = await program.failures(at: .live)
                    await Task.yield()
                }
                #expect(reasons.first?.hasPrefix("the hub has been in one job for ") == true)
                #expect(reasons.first?.hasSuffix("the limit is 20 ms") == true)
                gate.open()
                try await backend.engine.spawn(name: "next") {}.wait()
            }
        }

        @Test("A looping call beyond its stall limit fails liveness; another does not", arguments: bothBackends)
        func overdueLoop(type: BackendType) async throws {
            let clock = ManualClock()
            try await TestBackend.with(type, clock: clock) { backend in
                let program = try LaunchedProgram(backend)
                let gate = Completion<Void>()
                let began = Recorder<Void>()
                let loop = FixedIntervalLoopingCall(name: "poller", stallLimit: .seconds(10), backend: backend) {
                    began.append(())
                    try await gate.wait()
                }
                let healthy = FixedIntervalLoopingCall(name: "healthy", backend: backend) {
                    began.append(())
                    try await gate.wait()
                }
                try loop.start(interval: .seconds(5))
                try healthy.start(interval: .seconds(1))
                try await began.first(2)
                await clock.advance(by: .seconds(15))
                #expect(await program.failures(at: .live) == [])
                await clock.advance(by: .seconds(1))
                #expect(
                    await program.failures(at: .live) == [
                        "looping call 'poller' is overdue by 11 s; its stall limit is 10 s"
                    ])
                gate.complete(with: ())
                await clock.sleepers(atLeast: 2)
                #expect(await program.failures(at: .live) == [])
                loop.stop()
                healthy.stop()
                _ = try await (loop.wait(), healthy.wait())
            }
        }

        @Test("A timer that has ended with an error is a warning of readiness", arguments: bothBackends)
        func endedLoop(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let group = ThreadGroup(name: "group", backend: backend)
                let timer = try group.addTimer(name: "poller", interval: .seconds(60)) { throw TestFailure("told to") }
                try await timer.job?.wait()
                try await group.wait()
                let health = program.launcher.monitoring.health
                let report = await withCheckedContinuation { continuation in
                    health.evaluate(.ready, only: LoopMonitor.endedCheck) { continuation.resume(returning: $0) }
                }
                #expect(
                    report.entries.map(\.result) == [
                        .warn("looping call 'poller' ended with an error: told to")
                    ])
            }
        }

        @Test("The process and its backend are exported, with the worker's labels", arguments: bothBackends)
        func exposition(type: BackendType) async throws {
            try await TestBackend.with(type) { backend in
                let program = try LaunchedProgram(backend)
                let text = program.launcher.monitoring.exposition.rendered(.text)
                let samples = String(decoding: text, as: UTF8.self).split(separator: "\n")
                    .compactMap { MetricSample(parsing: $0) }
                let worker = ["worker": "0", "worker_group": "test"]
                func has(_ name: String, _ labels: [String: String]) -> Bool {
                    samples.contains { sample in
                        sample.name == name && labels.allSatisfy { sample.labels[$0.key] == $0.value }
                    }
                }
                #expect(has("muster_worker_up", worker))
                #expect(has("muster_worker_threads", worker))
                #expect(has("muster_worker_resident_memory_bytes", worker))
                #expect(has("muster_jobs_total", worker.merging(["backend": type.rawValue]) { $1 }))
                #expect(has("muster_signals_total", worker.merging(["signal": "SIGTERM"]) { $1 }))
                #expect(has("muster_build_info", ["version": MusterVersion.current, "swift": MusterVersion.swift]))
                #expect(has("process_cpu_seconds_total", [:]))
            }
        }
    }
}
