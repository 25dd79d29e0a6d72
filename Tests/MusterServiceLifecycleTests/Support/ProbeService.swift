// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import ServiceLifecycle

/// A service of swift-service-lifecycle that does what a test says.
struct ProbeService: ServiceLifecycle.Service {
    let body: @Sendable () async throws -> Void

    init(_ body: @escaping @Sendable () async throws -> Void) {
        self.body = body
    }

    /// Runs until it is shut down gracefully, and writes down what it meets.
    init(_ name: String, _ journal: Journal) {
        self.init {
            journal.note("\(name).run")
            do {
                try await gracefulShutdown()
                journal.note("\(name).shutdown")
            } catch {
                journal.note("\(name).cancelled")
                throw error
            }
        }
    }

    func run() async throws {
        try await body()
    }
}
#endif
