// SPDX-License-Identifier: Apache-2.0

/// Who answers for a service.
public enum StatusMode: String, Codable, CaseIterable, Hashable, Sendable {
    /// A supervisor of worker processes.
    case supervisor
    /// The one process that runs everything; it is shown as the worker 0.
    case process
    /// An endpoint that was given no source of a status: it knows the health checks only.
    case endpoint
}
