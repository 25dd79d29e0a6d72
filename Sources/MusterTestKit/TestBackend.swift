// SPDX-License-Identifier: Apache-2.0

public import Logging
public import Muster
public import MusterExecution
public import MusterMetrics
public import MusterPlatform

/// Backends for tests: nothing is selected, and each has a registry of its own, so that tests run side by side.
public enum TestBackend {
    /// Sets up a backend.
    ///
    /// - Parameters:
    ///   - type: `.cooperative`, `.threading`, or a backend registered with `Backend.register(_:_:)`.
    ///   - clock: The clock of everything that runs on it, as `BackendContext.clock`.
    ///   - metrics: Where its metrics are kept; a new registry when `nil`.
    ///   - configuration: The limits of its engine.
    ///   - logger: Where it logs.
    /// - Returns: The backend. Its engine's `shutDown()` gives its threads back.
    /// - Throws: `BackendError`; `ArenaError` when the system gives no memory file.
    public static func make(
        _ type: BackendType, clock: any RuntimeClock = SystemClock(), metrics: MetricRegistry? = nil,
        configuration: EngineConfiguration = EngineConfiguration(), logger: Logger = Logger(label: "muster.test")
    ) throws -> Backend {
        try BackendSelector.shared.make(
            BackendContext(
                type: type, metrics: metrics ?? .forTesting(), engine: configuration, clock: clock, logger: logger))
    }

    /// Sets up a backend, selects it for what the test does, and shuts its engine down, which cancels what still runs.
    ///
    /// What asks for the selected backend in the test's task, its child tasks and the jobs that they start gets this one:
    /// `Backend.current`, components, and a `ThreadGroup` or looping call without a backend of its own. The selection of
    /// the process, and of other tests that run meanwhile, is another one.
    ///
    /// - Parameters:
    ///   - type: `.cooperative`, `.threading`, or a backend registered with `Backend.register(_:_:)`.
    ///   - clock: The clock of everything that runs on it.
    ///   - configuration: The limits of its engine.
    ///   - logger: Where it logs.
    ///   - body: The test. It runs where the caller is.
    /// - Throws: What the test throws; as ``make(_:clock:metrics:configuration:logger:)``.
    public nonisolated(nonsending) static func with<Result>(
        _ type: BackendType, clock: any RuntimeClock = SystemClock(),
        configuration: EngineConfiguration = EngineConfiguration(), logger: Logger = Logger(label: "muster.test"),
        _ body: nonisolated(nonsending) (Backend) async throws -> Result
    ) async throws -> Result {
        let backend = try make(type, clock: clock, configuration: configuration, logger: logger)
        return try await run(in: BackendSelector.shared.scope(selecting: backend)) { try await body(backend) }
    }

    /// Runs a test of how the backend is selected: for what it does nothing is, and what it registers and selects is gone
    /// with it. The scope is that of ``with(_:clock:configuration:logger:_:)``.
    ///
    /// - Parameters:
    ///   - metrics: Where the metrics of a backend that is selected are kept; a new registry when `nil`.
    ///   - logger: Where the selection, and the selected backend, log.
    ///   - body: The test. It runs where the caller is.
    /// - Throws: What the test throws; what shutting the selected backend's engine down throws.
    public nonisolated(nonsending) static func withNoneSelected<Result>(
        metrics: MetricRegistry? = nil, logger: Logger = Logger(label: "muster.test"),
        _ body: nonisolated(nonsending) () async throws -> Result
    ) async throws -> Result {
        try await run(in: BackendSelector.shared.scope(metrics: metrics ?? .forTesting(), logger: logger), body)
    }

    private nonisolated(nonsending) static func run<Result>(
        in selector: BackendSelector, _ body: nonisolated(nonsending) () async throws -> Result
    ) async throws -> Result {
        let result: Result
        do {
            result = try await BackendSelector.$scoped.withValue(selector) { try await body() }
        } catch {
            try? await selector.selected?.engine.shutDown()
            throw error
        }
        try await selector.selected?.engine.shutDown()
        return result
    }
}
