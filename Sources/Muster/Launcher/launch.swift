// SPDX-License-Identifier: Apache-2.0

/// Launches a service, with settings from the program's arguments and environment.
///
/// ```swift
/// @main
/// struct Main {
///     static func main() {
///         Backend.registerDefaultHook { .threading }
///         ExitStatus { try launch(Mailer()).wait() }.exit()
///     }
/// }
/// ```
///
/// Upstream: `launch`.
///
/// - Parameters:
///   - service: The service.
///   - workers: The number of workers, 1 for the calling process.
///   - settings: What can be set about the runtime; read from arguments and environment when `nil`.
/// - Returns: A launcher to wait for.
/// - Throws: ``SettingsError`` for a setting that cannot be used; ``LaunchError`` for a number of workers that
///   cannot be had; ``BackendError`` when no backend can be selected.
public func launch(
    _ service: any ServiceBase, workers: Int = 1, settings: MusterSettings? = nil
) throws -> ServiceLauncher {
    guard workers >= 1 else { throw LaunchError.tooFewWorkers(workers) }
    guard workers == 1 else { throw LaunchError.workerProcessesNotAvailable(workers) }
    let launcher = try ServiceLauncher(name: service.name, settings: settings ?? .load())
    try launcher.launchService(service)
    return launcher
}
