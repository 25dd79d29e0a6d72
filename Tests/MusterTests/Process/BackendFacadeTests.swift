// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterExecution
import MusterTestKit
import Testing

extension ProcessWide {
    @Suite("The process' backend", .timeLimit(.minutes(5)))
    struct BackendFacadeTests {
        init() {
            Backend.resetForTesting()
        }

        @Test("The short forms reach the process' selector")
        func selection() throws {
            defer { Backend.resetForTesting() }
            #expect(Backend.selection == nil)
            try Backend.initialize(.threading)
            #expect(Backend.selection == BackendSelection(type: .threading, source: .explicit))
            #expect(try Backend.current === BackendSelector.shared.backend())
            #expect(throws: BackendAlreadySelected.self) { try Backend.initialize(.cooperative) }
        }

        @Test("Looking a component up selects a backend")
        func component() throws {
            defer { Backend.resetForTesting() }
            Backend.registerDefaultHook { .threading }
            #expect(try Backend.component(.threadGroup) == ThreadGroup.self)
            #expect(Backend.selection == BackendSelection(type: .threading, source: .hook))
            #expect(try Backend.component(named: "Service") == ThreadGroupService.self)
            #expect(throws: BackendComponentNotAvailable.self) { try Backend.component(named: "wsgi") }
        }

        @Test("A backend of the application's own can be registered")
        func register() throws {
            defer { Backend.resetForTesting() }
            let type = BackendType("own")
            try Backend.register(type) { context in
                Backend(context: context, engine: try ThreadingEngine(name: "own", metrics: context.metrics))
            }
            #expect(throws: BackendError.nameTaken(type)) { try Backend.register(type) { _ in throw TestFailure() } }
            try Backend.initialize(type)
            #expect(try Backend.current.type == type)
        }

        @Test("Making a backend selects none", arguments: bothBackends)
        func make(type: BackendType) throws {
            let backend = try Backend.make(type, metrics: .forTesting())
            #expect(backend.type == type)
            #expect(Backend.selection == nil)
            #expect(throws: BackendError.self) { try Backend.make(BackendType("none"), metrics: .forTesting()) }
        }

        @Test("Creating groups, loops and services selects nothing, using them does")
        func lazyUse() async throws {
            defer { Backend.resetForTesting() }
            let group = ThreadGroup(name: "lazy")
            let service = ThreadGroupService(name: "lazy") { _ in }
            let loop = DynamicLoopingCall(name: "lazy") { nil }
            loop.stop()
            try await group.stop()
            try await service.wait()
            #expect(Backend.selection == nil)
            let job = try await group.addThread(name: "first") {}
            try await job.wait()
            #expect(Backend.selection?.source == .default)
            try await Backend.current.engine.shutDown()
        }

        @Test("A number of workers that cannot be had is refused before anything is selected", arguments: [-1, 0])
        func launchWorkers(workers: Int) {
            let service = ThreadGroupService(name: "x") { _ in }
            let error = #expect(throws: LaunchError.self) { try launch(service, workers: workers) }
            #expect(error == .tooFewWorkers(workers))
            #expect(error?.description.contains("\(workers)") == true)
            #expect(Backend.selection == nil)
        }

        @Test("One worker is launched in this process, more are supervised processes")
        func launcherKinds() throws {
            defer { Backend.resetForTesting() }
            let service = ThreadGroupService(name: "x") { _ in }
            let settings = MusterSettings(endpoint: nil)
            #expect(try launch(service, settings: settings) is ServiceLauncher)
            #expect(try launch(service, workers: 1, restartMethod: .mutate, settings: settings) is ServiceLauncher)
            // Nothing is started before it is waited for, and a supervisor selects no backend.
            Backend.resetForTesting()
            #expect(try launch(service, workers: 3, settings: settings) is ProcessLauncher)
            #expect(Backend.selection == nil)
        }

        @Test("A launched service runs on the selected backend", arguments: bothBackends)
        func launched(type: BackendType) async throws {
            defer { Backend.resetForTesting() }
            try Backend.initialize(type)
            let started = Completion<String?>()
            let service = ThreadGroupService(name: "launched") { group in
                try await group.addThread(name: "thread") { started.complete(with: Job.current?.group) }
            }
            let launcher = try launch(service, settings: MusterSettings(endpoint: nil))
            let running = Task { await launcher.run() }
            #expect(try await started.wait() == "launched")
            launcher.stop()
            #expect(await running.value == .success)
            try await Backend.current.engine.shutDown()
        }
    }
}
