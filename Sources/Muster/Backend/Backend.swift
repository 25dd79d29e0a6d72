// SPDX-License-Identifier: Apache-2.0

public import Logging
public import MusterExecution
public import MusterMetrics

/// A concurrency backend: an engine, and the components that are written over it.
///
/// One backend is selected per process, explicitly (``initialize(_:)``), by the registered default hook
/// (``registerDefaultHook(_:)``) or by default, and stays selected. See ``BackendSelector`` for the precedence.
///
/// Upstream: `oslo_service.backend`.
public final class Backend: Sendable {
    /// The backend's name.
    public let type: BackendType
    /// What its jobs run on.
    public let engine: any ExecutionEngine
    /// Where its metrics, and those of everything that runs on it, are kept.
    public let metrics: MetricRegistry
    /// Where it logs.
    public let logger: Logger
    /// Its looping calls that run now.
    public let loops = LoopMonitor()
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
        logger = context.logger
        self.components = components ?? .standard(backend: context.type)
    }

    /// Sets up a backend without selecting it, for tests and for comparing backends in one process.
    ///
    /// - Parameters:
    ///   - type: One of Muster's own backends, or one registered with the process' selector.
    ///   - metrics: Where its metrics are kept.
    ///   - engine: The limits of its engine.
    ///   - logger: Where it logs.
    /// - Returns: The backend.
    /// - Throws: ``BackendError``.
    public static func make(
        _ type: BackendType, metrics: MetricRegistry = .shared, engine: EngineConfiguration = EngineConfiguration(),
        logger: Logger = Logger(label: "muster")
    ) throws -> Backend {
        try BackendSelector.shared.make(BackendContext(type: type, metrics: metrics, engine: engine, logger: logger))
    }
}
