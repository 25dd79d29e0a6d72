// SPDX-License-Identifier: Apache-2.0

public import Logging
public import MusterExecution
public import MusterMetrics

/// What a backend is set up with.
public struct BackendContext: Sendable {
    /// The name under which it was selected.
    public let type: BackendType
    /// Where its metrics are kept.
    public let metrics: MetricRegistry
    /// The limits of its engine.
    public let engine: EngineConfiguration
    /// Where it logs.
    public let logger: Logger

    /// Creates a context.
    ///
    /// - Parameters:
    ///   - type: The name under which it was selected.
    ///   - metrics: Where its metrics are kept.
    ///   - engine: The limits of its engine.
    ///   - logger: Where it logs.
    public init(
        type: BackendType, metrics: MetricRegistry = .shared, engine: EngineConfiguration = EngineConfiguration(),
        logger: Logger = Logger(label: "muster")
    ) {
        self.type = type
        self.metrics = metrics
        self.engine = engine
        self.logger = logger
    }
}
