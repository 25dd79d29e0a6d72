// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
/// Why a service of swift-service-lifecycle, or a launcher as one, has ended otherwise than it should.
public enum LifecycleServiceError: Error, Sendable, CustomStringConvertible {
    /// `run()` returned before the service had reported that it had started.
    case endedBeforeStart(service: String)
    /// A launcher has ended with a status that is not success.
    case launcherFailed(status: Int32)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .endedBeforeStart(let service):
            """
            run() of service '\(service)' returned before it had reported its start: call report() of the \
            StartReporter once it serves, or create it without one
            """
        case .launcherFailed(let status):
            "the launcher has ended with status \(status): its log says why"
        }
    }
}
#endif
