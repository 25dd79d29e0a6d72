// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import MusterExecution

/// By which a service says that it has started: swift-service-lifecycle itself has no such notion.
///
/// ```swift
/// LifecycleService(name: "api") { started in
///     Application(router: router, onServerRunning: { _ in started.report() })
/// }
/// ```
public struct StartReporter: Sendable {
    let started: Completion<Result<Void, any Error>>

    /// The service has started: it serves. Reporting again changes nothing.
    public func report() {
        started.complete(with: .success(()))
    }
}
#endif
