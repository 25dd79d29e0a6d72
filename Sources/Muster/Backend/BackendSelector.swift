// SPDX-License-Identifier: Apache-2.0

import Glibc
package import Logging
import MusterExecution
package import MusterMetrics
import MusterPlatform

/// Selects a backend once.
///
/// In this order:
/// 1. what is selected stays selected;
/// 2. an explicit ``initialize(_:)`` selects;
/// 3. without one, the first use asks the registered default hook;
/// 4. without a hook, or when it throws or names a backend that is not registered, the error is logged and
///    ``BackendType/default`` is taken.
///
/// Any number of threads may be first: one of them selects, the others wait for it. A selection that fails leaves
/// nothing behind, so that it can be tried again.
///
/// Sound as `@unchecked Sendable`: `state` is reached only while `mutex` is held.
package final class BackendSelector: @unchecked Sendable {
    private struct State {
        var makers: [BackendType: @Sendable (BackendContext) throws -> Backend]
        var hook: (@Sendable () throws -> BackendType)?
        var selected: (backend: Backend, selection: BackendSelection)?
        /// The thread that is selecting at the moment.
        var selecting: Int32?
    }

    /// The process' selector, or the one of the test that the calling task belongs to.
    package static var shared: BackendSelector { scoped ?? process }

    /// A selector in the place of the process' one, for a test and the jobs and child tasks that it starts.
    @TaskLocal package static var scoped: BackendSelector?

    private static let process = BackendSelector()

    private let metrics: @Sendable () -> MetricRegistry
    private let logger: Logger
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let selectionEnded: UnsafeMutablePointer<pthread_cond_t>
    private var state = State(makers: BackendSelector.standardMakers)

    /// Creates a selector with nothing selected.
    ///
    /// - Parameters:
    ///   - metrics: Where the selected backend's metrics are kept; asked when a backend is set up.
    ///   - logger: Where it, and the selected backend, log.
    package init(
        metrics: @escaping @autoclosure @Sendable () -> MetricRegistry = .shared,
        logger: Logger = Logger(label: "muster.backend").queued
    ) {
        self.metrics = metrics
        self.logger = logger
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
        selectionEnded = .allocate(capacity: 1)
        selectionEnded.initialize(to: pthread_cond_t())
        pthread_cond_init(selectionEnded, nil)
    }

    deinit {
        pthread_cond_destroy(selectionEnded)
        selectionEnded.deallocate()
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    private static var standardMakers: [BackendType: @Sendable (BackendContext) throws -> Backend] {
        [
            .cooperative: standardMaker { context in
                try CooperativeEngine(
                    name: context.type.rawValue, configuration: context.engine, metrics: context.metrics,
                    clock: context.clock)
            },
            .threading: standardMaker { context in
                try ThreadingEngine(
                    name: context.type.rawValue, configuration: context.engine, metrics: context.metrics,
                    clock: context.clock)
            },
        ]
    }

    private static func standardMaker(
        _ makeEngine: @escaping @Sendable (BackendContext) throws -> any ExecutionEngine
    ) -> @Sendable (BackendContext) throws -> Backend {
        { context in
            try context.metrics.registerTogether { Backend(context: context, engine: try makeEngine(context)) }
        }
    }

    /// Registers a further backend.
    ///
    /// - Throws: ``BackendError/nameTaken(_:)``.
    package func register(
        _ type: BackendType, _ make: @escaping @Sendable (BackendContext) throws -> Backend
    ) throws(BackendError) {
        let isFree = withState { state in
            guard state.makers[type] == nil else { return false }
            state.makers[type] = make
            return true
        }
        if !isFree { throw .nameTaken(type) }
    }

    /// Registers the default hook; the last one counts.
    package func registerDefaultHook(_ hook: @escaping @Sendable () throws -> BackendType) {
        withState { $0.hook = hook }
    }

    /// What is selected and why; `nil` when nothing is.
    package var selection: BackendSelection? {
        withState { $0.selected?.selection }
    }

    /// The selected backend; selects one first when none is.
    ///
    /// - Returns: The backend, the same one each time.
    /// - Throws: ``BackendError`` when none can be selected.
    package func backend() throws(BackendError) -> Backend {
        if let selected = try beginSelecting() { return selected.backend }
        return try select { [self] in
            guard let hook = withState({ $0.hook }) else { return (.default, .default) }
            do {
                let type = try hook()
                guard withState({ $0.makers[type] != nil }) else { throw unknown(type) }
                logger.info("default hook chose a backend", metadata: ["backend": "\(type)"])
                return (type, .hook)
            } catch {
                logger.error(
                    "default hook failed, taking the default backend",
                    metadata: ["error": "\(error)", "backend": "\(BackendType.default)"])
                return (.default, .default)
            }
        }
    }

    /// Whether the next selection runs the application's hook.
    var needsHook: Bool {
        withState { $0.selected == nil && $0.hook != nil }
    }

    /// Selects a backend; selecting the same one again changes nothing.
    ///
    /// - Throws: ``BackendAlreadySelected``; ``BackendError``.
    package func initialize(_ type: BackendType) throws {
        if let selected = try beginSelecting() {
            guard selected.selection.type == type else {
                throw BackendAlreadySelected(current: selected.selection, requested: type)
            }
            return
        }
        _ = try select { (type, .explicit) }
    }

    /// Sets up a backend without selecting it.
    ///
    /// - Throws: ``BackendError``.
    package func make(_ context: BackendContext) throws(BackendError) -> Backend {
        guard let maker = withState({ $0.makers[context.type] }) else { throw unknown(context.type) }
        do {
            return try maker(context)
        } catch let error as BackendError {
            throw error
        } catch {
            throw .failed(context.type, reason: "\(error)")
        }
    }

    private func unknown(_ type: BackendType) -> BackendError {
        .unknown(type, registered: withState { $0.makers.keys.sorted { $0.rawValue < $1.rawValue } })
    }

    /// The application's own backends, sorted by name.
    var ownTypes: [BackendType] {
        withState { $0.makers.keys.filter { Self.standardMakers[$0] == nil } }.sorted { $0.rawValue < $1.rawValue }
    }

    /// A selector that knows the same backends, for a test.
    ///
    /// - Parameters:
    ///   - backend: What is selected; nothing when `nil`.
    ///   - metrics: Where the metrics of a backend that it selects later are kept; those of `backend` when `nil`.
    package func scope(
        selecting backend: Backend? = nil, metrics: MetricRegistry? = nil, logger: Logger? = nil
    ) -> BackendSelector {
        let selector = BackendSelector(
            metrics: metrics ?? backend?.metrics ?? .shared, logger: logger ?? backend?.logger ?? self.logger)
        let makers = withState { $0.makers }
        selector.withState { state in
            state.makers = makers
            state.selected = backend.map { ($0, BackendSelection(type: $0.type, source: .explicit)) }
        }
        return selector
    }

    /// The selected backend; selects none.
    package var selected: Backend? { withState { $0.selected?.backend } }

    // MARK: One selection at a time

    /// Returns what is selected, or makes the calling thread the one that selects.
    private func beginSelecting() throws(BackendError) -> (backend: Backend, selection: BackendSelection)? {
        let thread = NativeThread.currentIdentifier
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while state.selected == nil, let selecting = state.selecting {
            if selecting == thread { throw .selectionInProgress }
            pthread_cond_wait(selectionEnded, mutex)
        }
        if let selected = state.selected { return selected }
        state.selecting = thread
        return nil
    }

    private func select(
        _ choose: () -> (type: BackendType, source: BackendSelection.Source)
    ) throws(BackendError) -> Backend {
        var result: (backend: Backend, selection: BackendSelection)?
        defer {
            withState { state in
                state.selecting = nil
                if let result { state.selected = result }
                pthread_cond_broadcast(selectionEnded)
            }
        }
        let start = MonotonicInstant.now
        let (type, source) = choose()
        let backend = try make(BackendContext(type: type, metrics: metrics(), logger: logger))
        let selection = BackendSelection(type: type, source: source)
        export(selection, took: start.duration(to: .now))
        logger.info("selected backend", metadata: ["backend": "\(type)", "source": "\(source.rawValue)"])
        result = (backend, selection)
        return backend
    }

    private func export(_ selection: BackendSelection, took time: Duration) {
        do {
            try metrics().info(
                "muster_backend", help: "The selected backend and who chose it.",
                labels: [("backend", selection.type.rawValue), ("source", selection.source.rawValue)])
            try metrics().gaugeFamily(
                "muster_backend_selection_seconds",
                help: "Time that choosing and setting up the selected backend took.", unit: .seconds,
                labelNames: ["backend"]
            ).labels(selection.type.rawValue).set(time.inSeconds)
        } catch {
            logger.warning("the selected backend is not exported", metadata: ["error": "\(error)"])
        }
    }

    private func withState<Result>(_ body: (inout State) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body(&state)
    }
}

/// Which backend was selected, and why.
public struct BackendSelection: Hashable, Sendable {
    /// Who chose.
    public enum Source: String, Hashable, Sendable, CaseIterable {
        /// `Backend.initialize(_:)`.
        case explicit
        /// The registered default hook.
        case hook
        /// Nobody: there was no hook, or it failed.
        case `default`
    }

    /// The backend.
    public let type: BackendType
    /// Who chose it.
    public let source: Source

    package init(type: BackendType, source: Source) {
        self.type = type
        self.source = source
    }
}

/// Another backend was asked for after one had been selected.
public struct BackendAlreadySelected: Error, Hashable, Sendable, CustomStringConvertible {
    /// The selected backend, and why it was.
    package let current: BackendSelection
    /// The backend that was asked for.
    package let requested: BackendType

    /// Names both, and what to do.
    public var description: String {
        """
        Backend already set to '\(current.type)' (\(current.source.rawValue)), so it cannot become '\(requested)': \
        select the backend once, early in main, before anything uses it
        """
    }
}
