// SPDX-License-Identifier: Apache-2.0

public import MusterSupervision

/// How the workers of one launched service are looked after.
public struct WorkerOptions: Sendable {
    /// Which ends of a worker are followed by a new one.
    public var restartPolicy: RestartPolicy
    /// How many processes are kept ready to take over a slot: started, with the service not started. Each takes
    /// memory, and makes a replacement run its first line sooner.
    public var warmSpares: Int
    /// How long to wait before a worker is started again; the settings' when `nil`.
    public var backoff: RestartBackoff?
    /// How many restarts are put up with; the settings' when `nil`.
    public var intensity: RestartIntensity?

    /// Creates options.
    ///
    /// - Parameters:
    ///   - restartPolicy: Which ends of a worker are followed by a new one.
    ///   - warmSpares: How many processes are kept ready to take over a slot.
    ///   - backoff: How long to wait before a worker is started again; the settings' when `nil`.
    ///   - intensity: How many restarts are put up with; the settings' when `nil`.
    public init(
        restartPolicy: RestartPolicy = .always, warmSpares: Int = 0, backoff: RestartBackoff? = nil,
        intensity: RestartIntensity? = nil
    ) {
        self.restartPolicy = restartPolicy
        self.warmSpares = warmSpares
        self.backoff = backoff
        self.intensity = intensity
    }
}
