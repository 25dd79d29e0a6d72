// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterExecution
import MusterTestKit
import Testing

@Suite("The selected backend, in the scope of a test", .timeLimit(.minutes(5)))
struct BackendFacadeTests {
    @Test("The short forms reach the process' selector")
    func selection() async throws {
        try await TestBackend.withNoneSelected {
            #expect(Backend.selection == nil)
            try Backend.initialize(.threading)
            #expect(Backend.selection == BackendSelection(type: .threading, source: .explicit))
            #expect(try Backend.current === BackendSelector.shared.backend())
            #expect(throws: BackendAlreadySelected.self) { try Backend.initialize(.cooperative) }
        }
    }

    @Test("Looking a component up selects a backend")
    func component() async throws {
        try await TestBackend.withNoneSelected {
            Backend.registerDefaultHook { .threading }
            let component = try Backend.component(.threadGroup)
            #expect(component == ThreadGroup.self)
            #expect(Backend.selection == BackendSelection(type: .threading, source: .hook))
            #expect(try Backend.component(named: "Service") == ThreadGroupService.self)
            #expect(throws: BackendComponentNotAvailable.self) { try Backend.component(named: "wsgi") }
        }
    }

    @Test("A backend of the application's own can be registered")
    func register() async throws {
        try await TestBackend.withNoneSelected {
            let type = BackendType("own")
            try Backend.register(type) { context in
                Backend(context: context, engine: try ThreadingEngine(name: "own", metrics: context.metrics))
            }
            #expect(throws: BackendError.nameTaken(type)) { try Backend.register(type) { _ in throw TestFailure() } }
            try Backend.initialize(type)
            #expect(try Backend.current.type == type)
        }
    }

    @Test("Making a backend selects none", arguments: bothBackends)
    func make(type: BackendType) async throws {
        try await TestBackend.withNoneSelected {
            let backend = try Backend.make(type, metrics: .forTesting())
            #expect(backend.type == type)
            #expect(Backend.selection == nil)
            #expect(throws: BackendError.self) { try Backend.make(BackendType("none"), metrics: .forTesting()) }
        }
    }

    @Test("Creating groups, loops and services selects nothing, using them does")
    func lazyUse() async throws {
        try await TestBackend.withNoneSelected {
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
        }
    }

    @Test("A number of workers that cannot be had is refused before anything is selected", arguments: [-1, 0])
    func launchWorkers(workers: Int) async throws {
        try await TestBackend.withNoneSelected {
            let service = ThreadGroupService(name: "x") { _ in }
            let error = #expect(throws: LaunchError.self) { try launch(service, workers: workers) }
            #expect(error == .tooFewWorkers(workers))
            #expect(error?.description.contains("\(workers)") == true)
            #expect(Backend.selection == nil)
        }
    }

    @Test("One worker is launched in this process, more are supervised processes")
    func launcherKinds() async throws {
        try await TestBackend.withNoneSelected {
            let service = ThreadGroupService(name: "x") { _ in }
            let settings = MusterSettings(endpoint: nil)
            let launcher = try launch(service, settings: settings)
            #expect(launcher is ServiceLauncher)
            #expect(try launch(service, workers: 1, restartMethod: .mutate, settings: settings) is ServiceLauncher)
        }
        // Nothing is started before it is waited for, and a supervisor selects no backend.
        try await TestBackend.withNoneSelected {
            let service = ThreadGroupService(name: "x") { _ in }
            let launcher = try launch(service, workers: 3, settings: MusterSettings(endpoint: nil))
            #expect(launcher is ProcessLauncher)
            #expect(Backend.selection == nil)
        }
    }

    @Test(
        "Tests that run side by side have selections of their own, also in jobs and child tasks",
        arguments: bothBackends)
    func sideBySide(type: BackendType) async throws {
        let other: BackendType = type == .threading ? .cooperative : .threading
        let outside = Backend.selection
        try await TestBackend.with(type) { backend in
            #expect(try Backend.current === backend)
            #expect(Backend.selection == BackendSelection(type: type, source: .explicit))
            #expect(throws: BackendAlreadySelected.self) { try Backend.initialize(other) }
            try await TestBackend.with(other) { inner in
                #expect(try Backend.current === inner)
                async let child = Backend.current
                #expect(try await child === inner)
                let job = try await ThreadGroup(name: "group").addThread(name: "job") {
                    (try Backend.current, Job.current?.group)
                }
                let (seen, group) = try await job.result()
                #expect(seen === inner && group == "group")
                #expect(inner.metrics.value("muster_threadgroup_tasks_total", ["group": "group"]) == 1)
            }
            #expect(try Backend.current === backend)
        }
        #expect(Backend.selection == outside)
    }

    @Test("A test of the selection starts with none, knows the backends of the application's own, and leaves nothing")
    func scope() async throws {
        let own = BackendType("own")
        let outside = Backend.selection
        try await TestBackend.withNoneSelected {
            try Backend.register(own) { context in
                Backend(context: context, engine: try ThreadingEngine(name: "own", metrics: context.metrics))
            }
            Backend.registerDefaultHook { own }
            let first = try Backend.current
            #expect(first.type == own)
            try await TestBackend.withNoneSelected {
                #expect(Backend.selection == nil)
                #expect(try Backend.current.type == .cooperative)
                #expect(try Backend.current !== first)
                try await TestBackend.with(own) { #expect($0.type == own) }
            }
        }
        #expect(Backend.selection == outside)
        #expect(throws: BackendError.self) { try TestBackend.make(own) }
    }
}
