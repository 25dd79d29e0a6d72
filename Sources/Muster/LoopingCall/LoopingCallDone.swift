// SPDX-License-Identifier: Apache-2.0

/// Thrown by a looping call's function to end the loop, with a value for whoever waits for it.
///
/// Upstream: `LoopingCallDone`.
public struct LoopingCallDone: Error, BackendComponent {
    /// The component's name.
    public static let componentName = "LoopingCallDone"

    /// What `wait()` returns.
    public let value: any Sendable

    /// Creates the error.
    ///
    /// - Parameter value: What `wait()` returns.
    public init(_ value: any Sendable = true) {
        self.value = value
    }
}
