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

    /// Sets up a backend, uses it where the caller is, and shuts its engine down, which cancels what still runs.
    ///
    /// - Parameters:
    ///   - type: `.cooperative` or `.threading`.
    ///   - clock: The clock of everything that runs on it.
    ///   - configuration: The limits of its engine.
    ///   - logger: Where it logs.
    ///   - body: The test.
    /// - Throws: What the test throws; as ``make(_:clock:metrics:configuration:logger:)``.
    public nonisolated(nonsending) static func with<Result>(
        _ type: BackendType, clock: any RuntimeClock = SystemClock(),
        configuration: EngineConfiguration = EngineConfiguration(), logger: Logger = Logger(label: "muster.test"),
        _ body: nonisolated(nonsending) (Backend) async throws -> Result
    ) async throws -> Result {
        let backend = try make(type, clock: clock, configuration: configuration, logger: logger)
        let result: Result
        do {
            result = try await body(backend)
        } catch {
            try? await backend.engine.shutDown()
            throw error
        }
        try await backend.engine.shutDown()
        return result
    }
}

extension Backend {
    /// Forgets the process' selection, the default hook and the registered backends.
    ///
    /// Whoever holds the old backend keeps using it, so tests that call this must not run side by side with others
    /// that use the process' selection.
    public static func resetForTesting() {
        BackendSelector.shared.reset()
    }
}

extension BackendSelector {
    /// Forgets the selection, the default hook and the registered backends.
    public func resetForTesting() {
        reset()
    }
}
