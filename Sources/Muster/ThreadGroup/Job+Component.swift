// SPDX-License-Identifier: Apache-2.0

public import MusterExecution

/// Upstream's `Thread`: the handle of one thread of a group.
extension Job: BackendComponent {
    /// The component's name.
    public static let componentName = "Thread"
}
