// SPDX-License-Identifier: Apache-2.0

extension MusterSettings {
    /// These settings with what of others a supervisor takes up while it runs; the rest waits for the next start.
    ///
    /// - Parameter read: The settings as they were read again.
    /// - Returns: What is in force from now on.
    func takingUp(_ read: MusterSettings) -> MusterSettings {
        var settings = self
        settings.gracefulShutdownTimeout = read.gracefulShutdownTimeout
        settings.startupTimeout = read.startupTimeout
        settings.livenessLimit = read.livenessLimit
        settings.abortGrace = read.abortGrace
        settings.restartMethod = read.restartMethod
        settings.restartBackoff = read.restartBackoff
        settings.restartIntensity = read.restartIntensity
        settings.readyCondition = read.readyCondition
        settings.liveCondition = read.liveCondition
        return settings
    }
}
