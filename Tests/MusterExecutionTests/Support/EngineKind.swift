// SPDX-License-Identifier: Apache-2.0

import MusterExecution
import MusterMetrics
import MusterPlatform

/// The engines that share one suite.
enum EngineKind: String, CaseIterable, Sendable {
    case cooperative
    case threading

    func make(
        _ configuration: EngineConfiguration = .patient, registry: MetricRegistry
    ) throws -> any ExecutionEngine {
        switch self {
        case .cooperative: try CooperativeEngine(configuration: configuration, metrics: registry)
        case .threading: try ThreadingEngine(configuration: configuration, metrics: registry)
        }
    }
}

/// Runs a test against a new engine with metrics of its own, and shuts it down afterwards.
func withEngine<Result: Sendable>(
    _ kind: EngineKind, _ configuration: EngineConfiguration = .patient,
    registry: MetricRegistry? = nil, _ body: (any ExecutionEngine) async throws -> Result
) async throws -> Result {
    let engine = try kind.make(configuration, registry: registry ?? makeRegistry())
    do {
        let result = try await body(engine)
        try await engine.shutDown()
        return result
    } catch {
        try? await engine.shutDown()
        throw error
    }
}

extension EngineConfiguration {
    /// Limits under which no thread ends for lack of work, however long a test is held up by others.
    static let patient = EngineConfiguration(threadKeepAlive: .seconds(3600))
}

/// A registry that nobody else writes to.
func makeRegistry() throws -> MetricRegistry {
    MetricRegistry(arena: try .create(name: "muster-test"))
}
