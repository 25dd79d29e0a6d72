// SPDX-License-Identifier: Apache-2.0

/// How much of everything a status shows.
public enum StatusLimits {
    /// The most workers.
    public static let workers = 500
    /// The most looping calls.
    public static let loops = 500
    /// The most health checks.
    public static let checks = 200
    /// The most points of the history.
    public static let points = 300
    /// The shortest time between two points of the history, in seconds.
    public static let pointDistanceSeconds = 2.0
}
