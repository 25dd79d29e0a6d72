// SPDX-License-Identifier: Apache-2.0

public import Muster

extension Backend {
    /// Forgets the process' selection, the default hook and the registered backends.
    ///
    /// Whoever holds the old backend keeps using it, so tests that call this must not run side by side with others
    /// that use the process' selection.
    ///
    /// Upstream: `_reset_backend`.
    public static func resetForTesting() {
        BackendSelector.shared.reset()
    }
}

extension BackendSelector {
    /// Forgets the selection, the default hook and the registered backends.
    public func resetForTesting() {
        reset()
    }
}
