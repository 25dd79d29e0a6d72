// SPDX-License-Identifier: Apache-2.0

public import MusterMetrics

/// Writes the metrics that the endpoint serves.
public protocol MetricsRenderer: Sendable {
    /// Renders all metrics as they are now. Called on the endpoint's thread; it must not wait for anything.
    ///
    /// - Parameters:
    ///   - format: The format of the text.
    ///   - names: The families to show; all of them when empty.
    ///   - buffer: Receives the text in place of its content; its memory is used again.
    func render(_ format: ExpositionFormat, names: Set<String>, into buffer: inout [UInt8])
}

extension Exposition: MetricsRenderer {}
