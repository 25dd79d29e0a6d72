// SPDX-License-Identifier: Apache-2.0

/// A launched service's workers.
struct WorkerGroup: Sendable {
    var configuration: WorkerGroupConfiguration
    /// How many workers there shall be: the slots from 0 on.
    var asked: Int
    /// All slots there have ever been, so that their counts go on.
    var slots: [WorkerSlot]
    var spareBackoff = RestartBackoffState()
    var window = RestartWindow()
    var hasBeenReady = false

    init(_ configuration: WorkerGroupConfiguration) {
        self.configuration = configuration
        asked = max(0, configuration.workers)
        slots = Array(repeating: WorkerSlot(), count: asked)
    }

    /// Whether no slot wants a process any more.
    var isFinished: Bool {
        slots[..<asked].allSatisfy { $0.occupant == .finished } && configuration.policy == .onFailure
    }

    /// Whether a slot is finished.
    var hasFinishedSlot: Bool {
        slots[..<asked].contains { $0.occupant == .finished }
    }
}
