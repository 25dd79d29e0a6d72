// SPDX-License-Identifier: Apache-2.0

import Muster

/// Where the demo's settings come from: options of the command line, then the environment, then the settings file.
///
/// `nil` stands for an option that was not given.
struct SettingsSource: Sendable {
    let endpoint: ListenAddress?
    let webConfigFile: String?
    /// `false` stands for an option that was not given.
    let opensProbes: Bool
    let livenessLimit: Duration?
    let abortGrace: Duration?
    let gracefulShutdownTimeout: Duration?
    let restartMethod: RestartMethod?
    let startupTimeout: Duration?

    /// Reads them; once more at a reload, as the file may have changed.
    ///
    /// - Returns: The settings.
    /// - Throws: `SettingsError` for a value that cannot be used; what reading the file throws.
    @Sendable
    func load() throws -> MusterSettings {
        var settings = try MusterSettings.load()
        if let endpoint {
            settings.endpoint = settings.endpoint ?? EndpointConfiguration()
            settings.endpoint?.address = endpoint
            settings.endpoint?.addressSetting = "--endpoint"
        }
        if let webConfigFile {
            settings.endpoint?.webConfigFile = webConfigFile
            settings.endpoint?.webConfigFileSetting = "--web-config-file"
        }
        if opensProbes { settings.endpoint?.opensProbes = true }
        if let livenessLimit { settings.livenessLimit = livenessLimit }
        if let abortGrace { settings.abortGrace = abortGrace }
        if let gracefulShutdownTimeout { settings.gracefulShutdownTimeout = gracefulShutdownTimeout }
        if let restartMethod { settings.restartMethod = restartMethod }
        if let startupTimeout { settings.startupTimeout = startupTimeout }
        settings.source = load
        return settings
    }
}
