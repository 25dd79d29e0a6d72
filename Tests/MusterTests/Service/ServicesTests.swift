// SPDX-License-Identifier: Apache-2.0

import Logging
import Muster
import MusterExecution
import MusterPlatform
import MusterTestKit
import Testing

@Suite("Services and the launcher in the process", .timeLimit(.minutes(5)))
struct ServicesTests {
    private let calls = Recorder<String>()

    private func isStartFailed(_ error: ServicesError?, of service: String) -> Bool {
        if case .startFailed(service, _) = error { true } else { false }
    }

    // MARK: Starting

    @Test("Services start in order and stop in the reverse order", arguments: bothBackends)
    func order(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let launcher = try Launcher(backend: backend)
            for name in ["a", "b", "c"] { try await launcher.launchService(ProbeService(name, calls)) }
            #expect(launcher.services.all.map(\.name) == ["a", "b", "c"])
            #expect(calls.all.isEmpty)
            try await launcher.start()
            await launcher.stop()
            #expect(
                calls.all == [
                    "a.start", "b.start", "c.start", "c.stopGracefully", "b.stopGracefully", "a.stopGracefully",
                ])
        }
    }

    @Test(
        "A service that fails to start is stopped with those before it, and the error says which",
        arguments: bothBackends)
    func failingStart(type: BackendType) async throws {
        let log = CapturedLog()
        try await TestBackend.with(type, logger: log.logger) { backend in
            let services = try Services(backend: backend)
            try await services.add(ProbeService("a", calls))
            try await services.add(ProbeService("b", calls, onStart: { throw TestFailure("no port") }))
            try await services.add(ProbeService("c", calls))
            let error = await #expect(throws: ServicesError.self) { try await services.start() }
            #expect(error.map { "\($0)" } == "service 'b' failed to start: no port")
            #expect(calls.all == ["a.start", "b.start", "b.stop", "a.stop"])
            #expect(log.messages(.error) == ["service failed to start"])
            await services.stop(graceful: true, until: nil)
            #expect(calls.count == 4)
        }
    }

    @Test("Services cannot be started twice, but again after they were stopped", arguments: bothBackends)
    func startTwice(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let services = try Services(backend: backend)
            try await services.add(ProbeService("a", calls))
            try await services.start()
            let error = await #expect(throws: ServicesError.self) { try await services.start() }
            #expect(error.map { "\($0)" } == "the services are already started")
            await services.stop(graceful: false, until: nil)
            try await services.start()
            #expect(calls.all == ["a.start", "a.stop", "a.start"])
            await services.stop(graceful: false, until: nil)
        }
    }

    @Test("A service added later starts at once", arguments: bothBackends)
    func addLater(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let services = try Services(backend: backend)
            try await services.start()
            try await services.add(ProbeService("late", calls))
            #expect(calls.all == ["late.start"])
            await services.stop(graceful: true, until: nil)
            #expect(calls.all == ["late.start", "late.stopGracefully"])
            let error = await #expect(throws: ServicesError.self) {
                try await services.add(ProbeService("too-late", calls))
            }
            #expect(error?.description.contains("'too-late' was added after the services had stopped") == true)
            #expect(services.all.map(\.name) == ["late"])
        }
    }

    @Test("A service added later that fails takes only itself away", arguments: bothBackends)
    func addLaterFails(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let services = try Services(backend: backend)
            try await services.add(ProbeService("a", calls))
            try await services.start()
            let error = await #expect(throws: ServicesError.self) {
                try await services.add(ProbeService("b", calls, onStart: { throw TestFailure() }))
            }
            #expect(isStartFailed(error, of: "b"))
            #expect(calls.all == ["a.start", "b.start", "b.stop"])
            #expect(services.all.map(\.name) == ["a"])
            await services.stop(graceful: true, until: nil)
            #expect(calls.all.last == "a.stopGracefully")
        }
    }

    @Test("A service may add another one as it starts", arguments: bothBackends)
    func addFromStart(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let services = try Services(backend: backend)
            let calls = calls
            try await services.add(
                ProbeService("parent", calls, onStart: { try await services.add(ProbeService("child", calls)) }))
            try await services.add(ProbeService("sibling", calls))
            try await services.start()
            #expect(calls.all == ["parent.start", "child.start", "sibling.start"])
            await services.stop(graceful: true, until: nil)
            #expect(
                Set(calls.all.suffix(3)) == ["parent.stopGracefully", "child.stopGracefully", "sibling.stopGracefully"])
            #expect(calls.count == 6)
        }
    }

    @Test("Many services can be added to one launcher at once", arguments: bothBackends)
    func many(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let launcher = try Launcher(backend: backend)
            try await launcher.start()
            let calls = calls
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for index in 0..<30 {
                    tasks.addTask { try await launcher.launchService(ProbeService("s\(index)", calls)) }
                }
                try await tasks.waitForAll()
            }
            #expect(calls.count == 30)
            await launcher.stop()
            #expect(calls.count == 60)
            let stopped = calls.all.suffix(30).map { $0.prefix { $0 != "." } }
            #expect(stopped == launcher.services.all.map { $0.name[...] }.reversed())
        }
    }

    @Test("A number of workers other than one is refused", arguments: bothBackends, [-1, 0, 2, 3])
    func workers(type: BackendType, workers: Int) async throws {
        try await TestBackend.with(type) { backend in
            let launcher = try Launcher(backend: backend)
            let error = await #expect(throws: ServicesError.self) {
                try await launcher.launchService(ProbeService("a", calls), workers: workers)
            }
            #expect(error?.description.contains("cannot have \(workers) workers") == true)
            #expect(launcher.services.all.isEmpty)
        }
    }

    // MARK: Stopping

    @Test("Stopping twice stops once, and stopping before the start stops nothing", arguments: bothBackends)
    func stopTwice(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let launcher = try Launcher(backend: backend)
            try await launcher.launchService(ProbeService("a", calls))
            await launcher.stop()
            #expect(calls.all.isEmpty)
            try await launcher.start()
            await launcher.stop()
            await launcher.stop()
            #expect(calls.all == ["a.start", "a.stopGracefully"])
        }
    }

    @Test("A service that fails to stop keeps none of the others running", arguments: bothBackends)
    func failingStop(type: BackendType) async throws {
        let log = CapturedLog()
        try await TestBackend.with(type, logger: log.logger) { backend in
            let services = try Services(backend: backend)
            try await services.add(ProbeService("a", calls))
            try await services.add(ProbeService("b", calls, onStop: { throw TestFailure() }))
            try await services.add(ProbeService("c", calls))
            try await services.start()
            await services.stop(graceful: false, until: nil)
            #expect(calls.all.suffix(3) == ["c.stop", "b.stop", "a.stop"])
            #expect(log.messages(.error) == ["service failed to stop"])
            #expect(log.metadata("service", of: "service failed to stop") == ["b"])
        }
    }

    @Test("A stop during the start waits for the service that starts, and starts no other", arguments: bothBackends)
    func stopDuringStart(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let services = try Services(backend: backend)
            let gate = Completion<Void>()
            try await services.add(ProbeService("a", calls))
            try await services.add(ProbeService("b", calls, onStart: { try await gate.wait() }))
            try await services.add(ProbeService("c", calls))
            let starting = Task { try await services.start() }
            try await calls.first(2)
            let stopping = Task.immediate { await services.stop(graceful: true, until: nil) }
            #expect(calls.all == ["a.start", "b.start"])
            gate.complete(with: ())
            let error = await #expect(throws: ServicesError.self) { try await starting.value }
            #expect(error.map { "\($0)" } == "the services were stopped before all of them had started")
            await stopping.value
            #expect(calls.all == ["a.start", "b.start", "b.stopGracefully", "a.stopGracefully"])
        }
    }

    @Test("A stop that cannot wait for the start any longer stops what there is", arguments: bothBackends)
    func impatientStop(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let services = try Services(backend: backend)
            let gate = Completion<Void>()
            try await services.add(ProbeService("a", calls))
            try await services.add(ProbeService("b", calls, onStart: { try await gate.wait() }))
            let starting = Task { try await services.start() }
            try await calls.first(2)
            let deadline = clock.now.advanced(by: .seconds(5))
            let stopping = Task { await services.stop(graceful: true, until: deadline) }
            await clock.sleepers(atLeast: 1)
            await clock.advance(to: deadline)
            await stopping.value
            #expect(calls.all == ["a.start", "b.start", "b.stopGracefully", "a.stopGracefully"])
            gate.complete(with: ())
            await #expect(throws: ServicesError.self) { try await starting.value }
            // What it began after its stop ends too.
            #expect(calls.all.last == "b.stop")
        }
    }

    @Test("A service may stop the launcher as it starts", arguments: bothBackends)
    func stopFromStart(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let launcher = try Launcher(backend: backend)
            try await launcher.launchService(ProbeService("a", calls, onStart: { await launcher.stop() }))
            try await launcher.launchService(ProbeService("b", calls))
            await #expect(throws: ServicesError.self) { try await launcher.start() }
            #expect(calls.all == ["a.start", "a.stopGracefully", "a.stop"])
        }
    }

    // MARK: Waiting and restarting

    @Test("Waiting waits for each service and throws the first error", arguments: bothBackends)
    func wait(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let launcher = try Launcher(backend: backend)
            let gate = Completion<Void>()
            let calls = calls
            try await launcher.launchService(ProbeService("a", calls, onWait: { try await gate.wait() }))
            try await launcher.launchService(ProbeService("b", calls, onWait: { throw TestFailure() }))
            try await launcher.start()
            let waiting = Task { try await launcher.wait() }
            try await calls.first(3)
            #expect(calls.all.last == "a.wait")
            gate.complete(with: ())
            await #expect(throws: TestFailure()) { try await waiting.value }
            await launcher.stop()
        }
    }

    @Test("A reload stops, resets and starts each service", arguments: bothBackends)
    func reload(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let launcher = try Launcher(backend: backend)
            try await launcher.launchService(ProbeService("a", calls))
            try await launcher.launchService(ProbeService("b", calls))
            try await launcher.start()
            try await launcher.restart()
            #expect(
                calls.all == [
                    "a.start", "b.start", "b.stopGracefully", "a.stopGracefully", "a.reset", "b.reset", "a.start",
                    "b.start",
                ])
            await launcher.stop()
        }
    }

    @Test("A mutation resets each service while it runs; one that fails is logged", arguments: bothBackends)
    func mutate(type: BackendType) async throws {
        let log = CapturedLog()
        try await TestBackend.with(type, logger: log.logger) { backend in
            let launcher = try Launcher(restartMethod: .mutate, backend: backend)
            try await launcher.launchService(ProbeService("a", calls, onReset: { throw TestFailure() }))
            try await launcher.launchService(ProbeService("b", calls))
            try await launcher.start()
            try await launcher.restart()
            #expect(calls.all == ["a.start", "b.start", "a.reset", "b.reset"])
            #expect(log.messages(.error) == ["service failed to reset"])
            await launcher.stop()
        }
    }

    @Test("A service that does not start again fails the reload, and the others are stopped", arguments: bothBackends)
    func reloadFails(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            let services = try Services(backend: backend)
            let starts = Recorder<Void>()
            try await services.add(ProbeService("a", calls))
            try await services.add(
                ProbeService("b", calls, onStart: { if starts.append(()) == 2 { throw TestFailure() } }))
            try await services.start()
            let error = await #expect(throws: ServicesError.self) { try await services.restart(.reload) }
            #expect(isStartFailed(error, of: "b"))
            #expect(calls.all.suffix(4) == ["a.start", "b.start", "b.stop", "a.stop"])
        }
    }

    // MARK: Services with a group

    @Test("A service with a group is stopped and waited for with it", arguments: bothBackends)
    func withGroup(type: BackendType) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let launcher = try Launcher(backend: backend)
            let runs = Recorder<Void>()
            let resets = Recorder<Void>()
            let service = ThreadGroupService(name: "mailer", backend: backend, onReset: { _ in resets.append(()) }) {
                group in
                try group.addTimer(name: "deliver", interval: .seconds(1)) { runs.append(()) }
            }
            #expect(service.name == "mailer")
            #expect(service.threadGroup.capacity == 1000)
            try await launcher.launchService(service)
            try await launcher.start()
            await clock.advance(by: .zero)
            #expect(runs.count == 1)
            await clock.advance(to: try #require(clock.deadlines.first))
            #expect(runs.count == 2)
            let waiting = Task { try await launcher.wait() }
            await launcher.stop()
            try await waiting.value
            #expect(service.threadGroup.timers.isEmpty)
            try await service.reset()
            #expect(resets.count == 1)
        }
    }

    @Test(
        "Without graceful, a service's work is cut short; with it, it finishes", arguments: bothBackends, [true, false])
    func graceful(type: BackendType, graceful: Bool) async throws {
        let clock = ManualClock()
        try await TestBackend.with(type, clock: clock) { backend in
            let finished = Recorder<Void>()
            let service = ThreadGroupService(name: "worker", backend: backend) { group in
                try await group.addThread(name: "task") {
                    try await clock.sleep(for: .seconds(1))
                    finished.append(())
                }
            }
            try await service.start()
            await clock.sleepers(atLeast: 1)
            let stopping = Task { try await service.stop(graceful: graceful, until: nil) }
            if graceful { await clock.advance(by: .seconds(1)) }
            try await stopping.value
            #expect(finished.count == (graceful ? 1 : 0))
        }
    }

    @Test("A service without a group stops and waits at once, and is named after its type")
    func minimal() async throws {
        struct Minimal: ServiceBase {
            func start() async throws {}
        }
        let service = Minimal()
        #expect(service.name == "Minimal")
        try await service.start()
        try await service.wait()
        try await service.stop(graceful: true, until: nil)
        try await service.reset()
    }
}
