// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// What a ``ProcessLauncher`` is to run. The order is that of the calls; it names the groups in every process.
final class LaunchedServices: Sendable {
    private struct State {
        var services: [LaunchedService] = []
        var isClosed = false
    }

    private let state = Locked(State())

    func add(_ launched: LaunchedService) throws(LaunchError) {
        guard launched.workers >= 1 else { throw .tooFewWorkers(launched.workers) }
        guard launched.options.warmSpares >= 0 else { throw .negativeWarmSpares(launched.options.warmSpares) }
        let name = launched.service.name
        try state.withLock { state throws(LaunchError) in
            if state.isClosed { throw .alreadyStarted("service '\(name)'") }
            if state.services.contains(where: { $0.service.name == name }) { throw .nameTaken(name) }
            state.services.append(launched)
        }
    }

    /// Nothing is added any more.
    func close() {
        state.withLock { $0.isClosed = true }
    }

    var all: [LaunchedService] { state.withLock { $0.services } }

    var names: [String] { all.map(\.service.name) }

    func index(of name: String) -> Int? {
        all.firstIndex { $0.service.name == name }
    }
}
