// SPDX-License-Identifier: Apache-2.0

/// Launches a service, with settings from the program's arguments and environment: in the calling process for one
/// worker, in supervised worker processes for more.
///
/// ```swift
/// @main
/// struct Main {
///     static func main() {
///         Backend.registerDefaultHook { .threading }
///         ExitStatus { try launch(Mailer(), workers: 4).wait() }.exit()
///     }
/// }
/// ```
///
/// Upstream: `launch`.
///
/// - Parameters:
///   - service: The service.
///   - workers: The number of workers; 1 for the calling process.
///   - restartMethod: What SIGHUP does; what the settings say when `nil`.
///   - settings: What can be set about the runtime; read from arguments and environment when `nil`.
/// - Returns: A launcher to wait for: a ``ServiceLauncher`` or a ``ProcessLauncher``.
/// - Throws: ``SettingsError`` for a setting that cannot be used; ``LaunchError`` for a number of workers that
///   cannot be had; ``BackendError`` when no backend can be selected.
public func launch(
    _ service: any ServiceBase, workers: Int = 1, restartMethod: RestartMethod? = nil,
    settings: MusterSettings? = nil
) throws -> any MainLauncher {
    guard workers >= 1 else { throw LaunchError.tooFewWorkers(workers) }
    var settings = try settings ?? .load()
    if let restartMethod {
        settings.restartMethod = restartMethod
        if let source = settings.source {
            settings.source = {
                var settings = try source()
                settings.restartMethod = restartMethod
                return settings
            }
        }
    }
    if workers == 1, !Worker.isWorkerProcess {
        let launcher = try ServiceLauncher(name: service.name, settings: settings)
        try launcher.launchService(service)
        return launcher
    }
    let launcher = try ProcessLauncher(settings: settings)
    try launcher.launchService(service, workers: workers)
    return launcher
}
