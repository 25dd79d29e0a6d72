// SPDX-License-Identifier: Apache-2.0

/// What a health check speaks for. The levels are those of Kubernetes' probes.
public enum HealthLevel: String, Sendable, CaseIterable {
    /// Whether the process works at all. Whoever watches it restarts the process when this fails, so a dependency
    /// of the process has no place here.
    case live
    /// Whether the process can do its work now. While this fails it gets none.
    case ready
    /// Whether the process has finished starting. Passes for good once it has passed.
    case startup

    /// The last component of the level's path, for example `livez`.
    public var endpointName: String {
        switch self {
        case .live: "livez"
        case .ready: "readyz"
        case .startup: "startupz"
        }
    }
}
