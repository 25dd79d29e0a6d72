// SPDX-License-Identifier: Apache-2.0

/// Whether a worker that has ended is started again.
public enum RestartPolicy: String, CaseIterable, Hashable, Sendable {
    /// However it ended.
    case always
    /// Unless it ended by itself with exit code 0: then its slot is finished. When every slot of every group is, the
    /// launcher ends with status 0.
    case onFailure = "on-failure"
    /// Never: the first worker that ends without having been asked to ends the launcher gracefully, with status 0 if
    /// its exit code was 0, else with 1.
    case never
}
