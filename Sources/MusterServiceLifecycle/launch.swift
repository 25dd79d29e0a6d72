// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
public import Muster
public import ServiceLifecycle

/// Launches a service of swift-service-lifecycle, with settings from the program's arguments and environment: in the
/// calling process for one worker, in supervised worker processes for more.
///
/// A service that cannot be run twice, or that is to say when it has started, is launched as a ``LifecycleService``.
///
/// - Parameters:
///   - service: The service.
///   - name: Its name; its type's when `nil`.
///   - workers: The number of workers; 1 for the calling process.
///   - placement: Where `run()` runs.
///   - restartMethod: What SIGHUP does; what the settings say when `nil`.
///   - settings: What can be set about the runtime; read from arguments and environment when `nil`.
/// - Returns: A launcher to wait for.
/// - Throws: As `Muster.launch(_:workers:restartMethod:settings:)`.
public func launch(
    _ service: any ServiceLifecycle.Service, name: String? = nil, workers: Int = 1,
    placement: LifecyclePlacement = .backend, restartMethod: RestartMethod? = nil, settings: MusterSettings? = nil
) throws -> any MainLauncher {
    try Muster.launch(
        LifecycleService(name: name ?? String(describing: type(of: service)), placement: placement) { service },
        workers: workers, restartMethod: restartMethod, settings: settings)
}
#endif
