// SPDX-License-Identifier: Apache-2.0

/// How a service is doing, in one word: the first of these that applies, from the last to the first.
public enum ServiceState: String, Codable, CaseIterable, Hashable, Sendable {
    /// All is well.
    case ready
    /// It does its work, but a check warns, a worker is not ready, or the metrics of one cannot be read.
    case degraded
    /// A check of the level `ready` fails.
    case unready
    /// It has not finished starting.
    case starting
    /// A check of the level `live` fails.
    case failing
    /// Its end has begun.
    case stopping
}
