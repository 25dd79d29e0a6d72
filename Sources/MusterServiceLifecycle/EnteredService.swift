// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import ServiceLifecycle

/// Tells that a service's `run()` is about to be entered, and runs it where it belongs.
struct EnteredService: ServiceLifecycle.Service {
    let service: any ServiceLifecycle.Service
    let placement: LifecyclePlacement
    let entered: @Sendable () -> Void

    func run() async throws {
        entered()
        switch placement {
        case .backend: try await service.run()
        case .globalPool:
            try await withTaskExecutorPreference(globalConcurrentExecutor) { try await service.run() }
        }
    }
}
#endif
