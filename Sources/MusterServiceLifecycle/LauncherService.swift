// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
public import Muster
public import ServiceLifecycle

/// A launcher as a service of swift-service-lifecycle, for a program that has a `ServiceGroup`.
///
/// ```swift
/// let launcher = try ServiceLauncher(name: "mailer")
/// try launcher.launchService(Mailer())
/// let services: [ServiceGroupConfiguration.ServiceConfiguration] = [.init(service: database), .launcher(launcher)]
/// try await ServiceGroup(configuration: .init(services: services, logger: logger)).run()
/// ```
///
/// A graceful shutdown of the group, and its cancellation, end the launcher gracefully.
///
/// The launcher takes SIGTERM, SIGINT and SIGHUP itself: the group needs no signals of its own. When it has ended by
/// one of them, so has this service, which a group takes for an error unless it is told otherwise, as
/// `ServiceConfiguration.launcher(_:)` does.
///
/// With a `ProcessLauncher` the whole program runs in each worker too, the group included. There `run()` runs the
/// worker's service, and then ends the process with its status: it does not return. Services of the group that belong
/// to the supervisor alone are left out where `Worker.isWorkerProcess`.
public struct LauncherService: ServiceLifecycle.Service {
    private let launcher: any MainLauncher

    /// Makes a service of a launcher.
    public init(_ launcher: any MainLauncher) {
        self.launcher = launcher
    }

    /// Runs the launcher until it is told to end, by a signal, by the program or by the service group.
    ///
    /// - Throws: ``LifecycleServiceError/launcherFailed(status:)`` when its status is not success.
    public func run() async throws {
        // Detached: the graceful shutdown of the group reaches what the launcher runs through the launcher only, in
        // its order.
        let running = Task.detached { [launcher] in await launcher.run() }
        let status = await withTaskCancellationOrGracefulShutdownHandler {
            await running.value
        } onCancelOrGracefulShutdown: { [launcher] in
            launcher.stop(.success)
        }
        if Worker.isWorkerProcess { status.exit() }
        guard status == .success else { throw LifecycleServiceError.launcherFailed(status: status.rawValue) }
    }
}

extension ServiceGroupConfiguration.ServiceConfiguration {
    /// A launcher in a service group, whose end, for example by SIGTERM, shuts the group down gracefully.
    ///
    /// - Returns: Its ``LauncherService``, configured.
    public static func launcher(_ launcher: any MainLauncher) -> Self {
        Self(service: LauncherService(launcher), successTerminationBehavior: .gracefullyShutdownGroup)
    }
}
#endif
