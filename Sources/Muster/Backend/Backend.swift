// SPDX-License-Identifier: Apache-2.0

public import Logging
public import MusterExecution
public import MusterMetrics
public import MusterPlatform
import Synchronization

/// A concurrency backend: an engine, and the components that are written over it.
///
/// One backend is selected per process, explicitly (``initialize(_:)``), by the registered default hook
/// (``registerDefaultHook(_:)``) or by default, and stays selected. See `BackendSelector` for the precedence.
public final class Backend: Sendable {
    /// The backend's name.
    public let type: BackendType
    /// What its jobs run on.
    public let engine: any ExecutionEngine
    /// Where its metrics, and those of everything that runs on it, are kept.
    public let metrics: MetricRegistry
    /// The limits that it was set up with.
    let limits: EngineConfiguration
    /// Where it logs.
    package let logger: Logger
    /// Its looping calls that run now.
    package let loops = LoopMonitor()
    /// The lease of its periodic tasks that run once over all workers.
    let lease = TaskLease()
    /// Whether it runs the periodic tasks that another program may run in its place.
    let runsExternalTasks = Atomic(true)
    /// Whether what runs on it is traced.
    let tracing: BackendTracing
    /// Its components by name.
    public let components: ComponentRegistry

    /// Creates a backend, which is not selected by that.
    ///
    /// - Parameters:
    ///   - context: What it was set up with.
    ///   - engine: What its jobs run on.
    ///   - components: Its components; Muster's own unless given.
    public init(
        context: BackendContext, engine: any ExecutionEngine,
        components: ComponentRegistry? = nil
    ) {
        type = context.type
        self.engine = engine
        metrics = context.metrics
        tracing = BackendTracing(metrics: context.metrics)
        limits = context.engine
        logger = context.logger
        self.components = components ?? .standard(backend: context.type)
        if let components { ComponentRegistry.record(components) }
    }

    /// Sets up a backend without selecting it, for tests and for comparing backends in one process.
    ///
    /// - Parameters:
    ///   - type: One of Muster's own backends, or one registered with the process' selector.
    ///   - metrics: Where its metrics are kept.
    ///   - engine: The limits of its engine.
    ///   - logger: Where it logs.
    /// - Throws: ``BackendError``.
    package static func make(
        _ type: BackendType, metrics: MetricRegistry = .shared, engine: EngineConfiguration = EngineConfiguration(),
        logger: Logger = Logger(label: "muster").queued
    ) throws -> Backend {
        try BackendSelector.shared.make(BackendContext(type: type, metrics: metrics, engine: engine, logger: logger))
    }
}

// The selection of the process' backend, as most programs use it: ``BackendSelector/shared`` by a shorter name.
extension Backend {
    /// Selects a backend. Selecting the same one again changes nothing.
    ///
    /// - Throws: ``BackendAlreadySelected`` when another one is selected; ``BackendError`` when there is no such
    ///   backend or it cannot be set up.
    public static func initialize(_ type: BackendType) throws {
        try BackendSelector.shared.initialize(type)
    }

    /// Registers what decides on the backend when it is needed and nobody has selected one. The last hook counts;
    /// after the selection it has no effect.
    ///
    /// - Parameter hook: Returns the backend to take. When it throws, or names a backend that is not registered, the
    ///   error is logged and the default taken.
    public static func registerDefaultHook(_ hook: @escaping @Sendable () throws -> BackendType) {
        BackendSelector.shared.registerDefaultHook(hook)
    }

    /// Registers a backend of the application's own.
    ///
    /// - Throws: ``BackendError/nameTaken(_:)``.
    public static func register(
        _ type: BackendType, _ make: @escaping @Sendable (BackendContext) throws -> Backend
    ) throws(BackendError) {
        try BackendSelector.shared.register(type, make)
    }

    /// The selected backend; selects one first when none is.
    ///
    /// - Throws: ``BackendError`` when none can be selected.
    public static var current: Backend {
        get throws { try BackendSelector.shared.backend() }
    }

    /// What is selected and why; `nil` when nothing is. Asking selects nothing.
    public static var selection: BackendSelection? {
        BackendSelector.shared.selection
    }

    /// A component of the selected backend; selects one first when none is.
    ///
    /// - Parameter key: The component's key, for example `.threadGroup`.
    /// - Throws: ``BackendComponentNotAvailable``; ``BackendError`` when no backend can be selected.
    public static func component<Component>(_ key: ComponentKey<Component>) throws -> Component.Type {
        try current.components[key]
    }

    /// A component of the selected backend by its name; selects a backend first when none is.
    ///
    /// - Parameter name: The component's name, for example `ThreadGroup`.
    /// - Throws: ``BackendComponentNotAvailable``; ``BackendError`` when no backend can be selected.
    public static func component(named name: String) throws -> any BackendComponent.Type {
        try current.components[name]
    }
}

/// Names a backend: one of Muster's two, or one that the application has registered.
public struct BackendType: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The name, which is also the value of the label `backend`.
    public let rawValue: String

    /// Creates a name.
    ///
    /// - Parameter rawValue: The name in lower case, for example `cooperative`.
    public init(rawValue: String) {
        self.rawValue = rawValue
    }

    /// Creates a name.
    ///
    /// - Parameter name: The name in lower case, for example `cooperative`.
    public init(_ name: String) {
        self.init(rawValue: name)
    }

    /// All jobs take turns on one thread (upstream: `EVENTLET`).
    public static let cooperative = BackendType("cooperative")
    /// Each job has a native thread of its own (upstream: `THREADING`).
    public static let threading = BackendType("threading")
    /// What is taken when nobody says otherwise (upstream: `DEFAULT_BACKEND_TYPE`).
    public static let `default` = BackendType.cooperative

    /// The name.
    public var description: String { rawValue }
}

/// What a backend is set up with.
public struct BackendContext: Sendable {
    /// The name under which it was selected.
    public let type: BackendType
    /// Where its metrics are kept.
    public let metrics: MetricRegistry
    /// The limits of its engine.
    public let engine: EngineConfiguration
    /// The clock of its engine: the machine's, except in tests.
    public let clock: any RuntimeClock
    /// Where it logs.
    public let logger: Logger

    package init(
        type: BackendType, metrics: MetricRegistry = .shared, engine: EngineConfiguration = EngineConfiguration(),
        clock: any RuntimeClock = SystemClock(), logger: Logger = Logger(label: "muster").queued
    ) {
        self.type = type
        self.metrics = metrics
        self.engine = engine
        self.clock = clock
        self.logger = logger
    }
}

/// Why no backend could be selected.
public enum BackendError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Nothing is registered under the name.
    case unknown(BackendType, registered: [BackendType])
    /// The backend could not be set up.
    case failed(BackendType, reason: String)
    /// The default hook, or the set-up of a backend, asked for the backend that it was to choose.
    case selectionInProgress
    /// The name belongs to a backend already.
    case nameTaken(BackendType)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .unknown(let type, let registered):
            """
            Unknown backend: '\(type)'; registered are \(registered.map { "'\($0)'" }.joined(separator: ", ")). \
            Register one of your own with Backend.register(_:_:) before it is selected
            """
        case .failed(let type, let reason):
            "backend '\(type)' could not be set up: \(reason)"
        case .selectionInProgress:
            """
            the backend is being selected by this very thread: a default hook or a backend's set-up must not use \
            the backend (start services, create jobs, look components up)
            """
        case .nameTaken(let type):
            "a backend named '\(type)' is registered already: choose another name"
        }
    }
}
