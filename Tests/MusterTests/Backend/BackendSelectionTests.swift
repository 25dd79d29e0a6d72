// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import Muster
import MusterExecution
import MusterMetrics
import MusterPlatform
import MusterTestKit
import Testing

@Suite("Selecting a backend", .timeLimit(.minutes(5)))
struct BackendSelectionTests {
    private let log = CapturedLog()
    private let metrics: MetricRegistry
    private let selector: BackendSelector

    init() throws {
        let metrics = try MetricRegistry.forTesting()
        self.metrics = metrics
        selector = BackendSelector(metrics: metrics, logger: log.logger)
    }

    @Test("Nothing is selected until somebody needs it, and asking what is selected selects nothing")
    func startsUnselected() throws {
        #expect(selector.selection == nil)
        _ = try selector.backend()
        #expect(selector.selection == BackendSelection(type: .cooperative, source: .default))
    }

    @Test("The first use takes the default")
    func takesDefault() throws {
        #expect(try selector.backend().type == .default)
        #expect(BackendType.default == .cooperative)
    }

    @Test("An explicit selection is what the first use gets", arguments: bothBackends)
    func explicit(type: BackendType) throws {
        try selector.initialize(type)
        #expect(try selector.backend().type == type)
        #expect(selector.selection == BackendSelection(type: type, source: .explicit))
    }

    @Test("The same backend can be selected twice, and stays the same object", arguments: bothBackends)
    func twice(type: BackendType) throws {
        try selector.initialize(type)
        let first = try selector.backend()
        try selector.initialize(type)
        #expect(try selector.backend() === first)
    }

    @Test("Another backend is refused after an explicit selection, by name and source")
    func otherAfterExplicit() throws {
        try selector.initialize(.cooperative)
        let error = #expect(throws: BackendAlreadySelected.self) { try selector.initialize(.threading) }
        #expect(error?.current.type == .cooperative)
        #expect(error?.requested == .threading)
        #expect("\(error.map { "\($0)" } ?? "")".hasPrefix("Backend already set to 'cooperative' (explicit)"))
        #expect(try selector.backend().type == .cooperative)
    }

    @Test("Another backend is refused after the default was taken")
    func otherAfterDefault() throws {
        _ = try selector.backend()
        #expect(throws: BackendAlreadySelected.self) { try selector.initialize(.threading) }
        try selector.initialize(.cooperative)
    }

    @Test("Another backend is refused also when there is a hook")
    func otherWithHook() throws {
        selector.registerDefaultHook { .threading }
        try selector.initialize(.cooperative)
        #expect(throws: BackendAlreadySelected.self) { try selector.initialize(.threading) }
    }

    @Test("After a reset there is a new object, and the hook is forgotten")
    func reset() throws {
        selector.registerDefaultHook { .threading }
        let first = try selector.backend()
        selector.resetForTesting()
        #expect(selector.selection == nil)
        let second = try selector.backend()
        #expect(second !== first)
        #expect(second.type == .cooperative)
    }

    // MARK: The hook

    @Test("The hook decides when nobody has selected", arguments: bothBackends)
    func hookDecides(type: BackendType) throws {
        selector.registerDefaultHook { type }
        let backend = try selector.backend()
        #expect(backend.type == type)
        #expect(selector.selection == BackendSelection(type: type, source: .hook))
        #expect(backend.components.contains("ThreadGroup"))
    }

    @Test("The last hook counts, and is asked once")
    func lastHook() throws {
        let asked = Recorder<String>()
        selector.registerDefaultHook {
            asked.append("first")
            return .cooperative
        }
        selector.registerDefaultHook {
            asked.append("second")
            return .threading
        }
        #expect(try selector.backend().type == .threading)
        _ = try selector.backend()
        #expect(asked.all == ["second"])
    }

    @Test("The hook is not asked after an explicit selection")
    func hookIgnored() throws {
        let asked = Recorder<Void>()
        try selector.initialize(.cooperative)
        selector.registerDefaultHook {
            asked.append(())
            return .threading
        }
        #expect(try selector.backend().type == .cooperative)
        #expect(asked.count == 0)
    }

    @Test("A hook that throws is logged once, and the default is taken")
    func hookThrows() throws {
        selector.registerDefaultHook { throw TestFailure("no such file") }
        #expect(try selector.backend().type == .default)
        #expect(selector.selection?.source == .default)
        #expect(log.messages(.error) == ["default hook failed, taking the default backend"])
        #expect(log.metadata("error", of: "default hook failed, taking the default backend") == ["no such file"])
    }

    @Test("A hook that names a backend nobody has registered is logged, and the default is taken")
    func hookNamesUnknown() throws {
        selector.registerDefaultHook { BackendType("greenlet") }
        #expect(try selector.backend().type == .default)
        #expect(selector.selection?.source == .default)
        let errors = log.metadata("error", of: "default hook failed, taking the default backend")
        #expect(errors.count == 1)
        #expect(errors.first?.hasPrefix("Unknown backend: 'greenlet'") == true)
    }

    @Test("A hook that uses the backend it is to choose gets an error instead of waiting for itself")
    func hookIsReentrant() throws {
        let seen = Recorder<String>()
        let selector = selector
        selector.registerDefaultHook {
            do {
                return try selector.backend().type
            } catch {
                seen.append("\(error)")
                throw error
            }
        }
        #expect(try selector.backend().type == .default)
        #expect(seen.all == [BackendError.selectionInProgress.description])
        #expect(BackendError.selectionInProgress.description.contains("must not use"))
    }

    // MARK: Errors

    @Test("An unknown backend is refused with the names of the registered ones")
    func unknown() throws {
        let error = #expect(throws: BackendError.self) { try selector.initialize(BackendType("eventlet")) }
        #expect(error == .unknown(BackendType("eventlet"), registered: [.cooperative, .threading]))
        #expect("\(error.map { "\($0)" } ?? "")".contains("registered are 'cooperative', 'threading'"))
        #expect(selector.selection == nil)
        try selector.initialize(.threading)
    }

    @Test("A selection that fails leaves nothing behind and can be tried again")
    func failureCanBeRepeated() throws {
        let attempts = Recorder<Void>()
        let type = BackendType("fragile")
        try selector.register(type) { context in
            if attempts.append(()) == 1 { throw TestFailure("out of descriptors") }
            return try TestBackend.make(.threading, metrics: context.metrics)
        }
        selector.registerDefaultHook { type }
        let error = #expect(throws: BackendError.self) { try selector.backend() }
        #expect(error == .failed(type, reason: "out of descriptors"))
        #expect(selector.selection == nil)
        #expect(metrics.value("muster_backend_info") == nil)
        _ = try selector.backend()
        #expect(selector.selection == BackendSelection(type: type, source: .hook))
    }

    @Test("A backend whose set-up uses the backend gets an error instead of waiting for itself")
    func makerIsReentrant() throws {
        let selector = selector
        let type = BackendType("impatient")
        try selector.register(type) { _ in try selector.backend() }
        #expect(throws: BackendError.selectionInProgress) { try selector.initialize(type) }
        #expect(selector.selection == nil)
    }

    // MARK: Backends of the application's own

    @Test("A registered backend can be selected")
    func registered() throws {
        let type = BackendType("custom")
        try selector.register(type) { context in
            Backend(context: context, engine: try ThreadingEngine(name: "custom", metrics: context.metrics))
        }
        try selector.initialize(type)
        #expect(try selector.backend().type == type)
        #expect(metrics.value("muster_backend_info", ["backend": "custom", "source": "explicit"]) == 1)
    }

    @Test("A name can be taken once", arguments: [BackendType.cooperative, .threading, BackendType("custom")])
    func nameTaken(type: BackendType) throws {
        if !bothBackends.contains(type) { try selector.register(type) { _ in throw TestFailure() } }
        #expect(throws: BackendError.nameTaken(type)) { try selector.register(type) { _ in throw TestFailure() } }
    }

    // MARK: Many at once

    @Test("Of 32 threads that use the backend first, one selects and all get its choice")
    func concurrentFirstUse() async throws {
        let count = 32
        let asked = Recorder<Void>()
        let got = Recorder<ObjectIdentifier?>()
        let selector = selector
        selector.registerDefaultHook {
            asked.append(())
            return .threading
        }
        let barrier = UnsafeMutablePointer<pthread_barrier_t>.allocate(capacity: 1)
        pthread_barrier_init(barrier, nil, UInt32(count))
        let address = UInt(bitPattern: barrier)
        for index in 0..<count {
            try NativeThread.start(name: "first-\(index)", stackSize: nil) {
                if let barrier = UnsafeMutablePointer<pthread_barrier_t>(bitPattern: address) {
                    pthread_barrier_wait(barrier)
                }
                got.append((try? selector.backend()).map { ObjectIdentifier($0) })
            }
        }
        let backends = try await got.first(count)
        pthread_barrier_destroy(barrier)
        barrier.deallocate()
        #expect(asked.count == 1)
        #expect(Set(backends).count == 1)
        #expect(backends.first == ObjectIdentifier(try selector.backend()))
    }

    // MARK: Metrics

    @Test("The selection is exported with who made it")
    func exported() throws {
        selector.registerDefaultHook { .threading }
        #expect(metrics.value("muster_backend_info") == nil)
        _ = try selector.backend()
        #expect(metrics.value("muster_backend_info", ["backend": "threading", "source": "hook"]) == 1)
        #expect((metrics.value("muster_backend_selection_seconds", ["backend": "threading"]) ?? 0) > 0)
    }
}
