// SPDX-License-Identifier: Apache-2.0

import Glibc

extension Double {
    /// A number drawn from a normal distribution, by the method of Box and Muller, with the system's generator.
    ///
    /// - Parameters:
    ///   - mean: The distribution's mean.
    ///   - deviation: Its standard deviation.
    public static func normal(mean: Double, deviation: Double) -> Double {
        let radius = sqrt(-2 * log(Double.random(in: .leastNonzeroMagnitude...1)))
        return mean + deviation * radius * cos(2 * .pi * Double.random(in: 0..<1))
    }
}
