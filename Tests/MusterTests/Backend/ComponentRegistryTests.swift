// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterExecution
import MusterTestKit
import Testing

@Suite("A backend's components")
struct ComponentRegistryTests {
    @Test("Both backends have the same components", arguments: bothBackends)
    func standard(type: BackendType) throws {
        let components = try TestBackend.make(type).components
        #expect(
            components.names == [
                "BackOffLoopingCall", "DiagnosticsConsole", "DynamicLoopingCall", "FixedIntervalLoopingCall",
                "FixedIntervalWithTimeoutLoopingCall", "HTTPServer", "Launcher", "LoopingCallDone",
                "LoopingCallTimeOut",
                "ProcessLauncher", "RetryDecorator", "Service", "ServiceLauncher", "Services", "SignalHandler",
                "Thread", "ThreadGroup",
            ])
        #expect(components.backend == type)
    }

    @Test("A component is found by name and by key", arguments: bothBackends)
    func found(type: BackendType) throws {
        let components = try TestBackend.make(type).components
        #expect(try components["ThreadGroup"] == ThreadGroup.self)
        #expect(try components["Thread"] == Job.self)
        #expect(try components[.threadGroup] == ThreadGroup.self)
        #expect(try components[.thread] == Job.self)
        #expect(try components[.fixedIntervalLoopingCall] == FixedIntervalLoopingCall.self)
        #expect(
            try components[.fixedIntervalWithTimeoutLoopingCall] == FixedIntervalWithTimeoutLoopingCall.self)
        #expect(try components[.dynamicLoopingCall] == DynamicLoopingCall.self)
        #expect(try components[.backOffLoopingCall] == BackOffLoopingCall.self)
        #expect(try components[.retryDecorator] == RetryDecorator.self)
        #expect(try components[.service] == ThreadGroupService.self)
        #expect(try components[.services] == Services.self)
        #expect(try components[.launcher] == Launcher.self)
        #expect(try components[.serviceLauncher] == ServiceLauncher.self)
        #expect(try components[.signalHandler] == SignalHandler.self)
        #expect(try components[.httpServer] == HTTPServer.self)
        #expect(try components[.diagnosticsConsole] == DiagnosticsConsole.self)
        #expect(components.contains("ThreadGroup"))
        #expect(!components.contains("Eventlet"))
    }

    @Test("What is found works without a cast")
    func typed() async throws {
        try await TestBackend.with(.threading) { backend in
            let group = try backend.components[.threadGroup].init(name: "typed", backend: backend)
            let job = try await group.addThread(name: "one") {}
            guard case .finished = try await job.wait() else {
                Issue.record("the thread did not finish")
                return
            }
        }
    }

    @Test("A missing component's error names it, the backend and who has it")
    func missing() throws {
        let registry = ComponentRegistry(backend: BackendType("custom"), components: [:])
        let error = #expect(throws: BackendComponentNotAvailable.self) { try registry["ThreadGroup"] }
        #expect(error?.component == "ThreadGroup")
        #expect(error?.backend == BackendType("custom"))
        #expect(error?.availableIn == bothBackends)
        #expect(
            error.map { "\($0)" }
                == "Component 'ThreadGroup' is not available in backend 'custom'; it is available in: 'cooperative', 'threading'"
        )
        #expect(throws: BackendComponentNotAvailable.self) { try registry[.threadGroup] }
    }

    @Test("A component that nobody has is missing everywhere", arguments: bothBackends)
    func missingEverywhere(type: BackendType) throws {
        let components = try TestBackend.make(type).components
        let error = #expect(throws: BackendComponentNotAvailable.self) { try components["eventlet_backdoor"] }
        #expect(error?.availableIn == [])
        // Others may register backends meanwhile, of which it is not known.
        #expect(
            error?.description.hasPrefix("Component 'eventlet_backdoor' is not available in backend '\(type)'; ")
                == true)
    }

    @Test("A backend of the application's own that has the component is named")
    func ownBackend() throws {
        let own = BackendType("own-components")
        try Backend.register(own) { context in
            Backend(
                context: context,
                engine: try CooperativeEngine(name: own.rawValue, metrics: context.metrics, clock: context.clock),
                components: ComponentRegistry(backend: own, components: ["Special": ThreadGroupService.self]))
        }
        let components = try TestBackend.make(.cooperative).components
        let before = #expect(throws: BackendComponentNotAvailable.self) { try components["Special"] }
        #expect(before?.unknownIn.contains(own) == true)
        #expect(before?.description.contains("may have it, but were not set up yet: ") == true)
        // Now it is known what that backend has.
        let clock = ManualClock()
        let backend = try TestBackend.make(own, clock: clock)
        #expect(backend.type == own)
        #expect(backend.engine.clock is ManualClock)
        let after = #expect(throws: BackendComponentNotAvailable.self) { try components["Special"] }
        #expect(after?.availableIn == [own])
        #expect(
            after?.description
                == "Component 'Special' is not available in backend 'cooperative'; it is available in: 'own-components'"
        )
        let error = #expect(throws: BackendError.self) { try TestBackend.make(BackendType("nobody's")) }
        #expect(error?.description.contains("'own-components'") == true)
    }

    @Test("Each of upstream's components is found, or the error says what to use instead", arguments: bothBackends)
    func upstream(type: BackendType) throws {
        let upstream = [
            "ServiceBase", "ServiceLauncher", "Launcher", "ProcessLauncher", "Service", "Services", "ServiceWrapper",
            "SignalHandler", "SignalExit", "Singleton", "LoopingCallBase", "LoopingCallDone", "LoopingCallTimeOut",
            "FixedIntervalLoopingCall", "FixedIntervalWithTimeoutLoopingCall", "DynamicLoopingCall",
            "BackOffLoopingCall", "RetryDecorator", "ThreadGroup", "Thread", "launch", "_is_daemon",
            "_is_sighup_and_daemon",
        ]
        let components = try TestBackend.make(type).components
        for name in upstream where !components.contains(name) {
            let error = #expect(throws: BackendComponentNotAvailable.self) { try components[name] }
            #expect(error?.description.contains("no registered backend has it") == false, "\(name)")
        }
        #expect(upstream.filter { components.contains($0) }.count == 15)
        #expect(try components["Thread"] == Job.self)
        #expect(
            #expect(throws: BackendComponentNotAvailable.self) { try components["launch"] }?.description
                == "Component 'launch' is not available in backend '\(type)'; call the function launch(_:workers:restartMethod:settings:)"
        )
    }

    @Test("A component that is nil counts as missing")
    func isNil() {
        let registry = ComponentRegistry(
            backend: .threading, components: ["ThreadGroup": nil, "Service": ThreadGroupService.self])
        #expect(!registry.contains("ThreadGroup"))
        #expect(registry.names == ["Service"])
        #expect(throws: BackendComponentNotAvailable.self) { try registry["ThreadGroup"] }
    }

    @Test("Another type under a component's name is not handed out as that component")
    func wrongType() {
        let registry = ComponentRegistry(backend: .threading, components: ["ThreadGroup": ThreadGroupService.self])
        #expect(registry.contains("ThreadGroup"))
        #expect(throws: BackendComponentNotAvailable.self) { try registry[.threadGroup] }
    }
}
