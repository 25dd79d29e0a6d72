// SPDX-License-Identifier: Apache-2.0

/// How much a report leaves out because there would be too much of it.
public struct OmittedStatus: Codable, Hashable, Sendable {
    /// Workers beyond the first ``StatusLimits/workers``.
    public var workers = 0
    /// Looping calls beyond the first ``StatusLimits/loops``.
    public var loops = 0

    /// Nothing is left out.
    public init() {}
}
