// SPDX-License-Identifier: Apache-2.0

package import MusterMetrics
package import MusterPlatform

/// The supervisor's picture of its workers at one instant, for whoever shows it: metrics, probes, reports.
package struct SupervisorReport: Sendable {
    /// One live process.
    package struct Process: Sendable {
        /// The serial number of its start.
        package var birth: Int
        /// Its process identifier.
        package var pid: Int32
        /// What it is for.
        package var target: SpawnTarget
        /// Its signs of life.
        package var vitalSigns: VitalSignsReader
        /// Since when the system has kept it from running (SIGSTOP).
        package var stoppedSince: MonotonicInstant?
        /// When it was found to be hung.
        package var hungSince: MonotonicInstant?
        /// Reads its figures; opened by the first who wants them.
        package var sampler: LazySampler
    }

    /// What one slot has kept.
    package struct Slot: Sendable {
        /// CPU time of the slot's processes that are gone, in seconds.
        package var cpuSeconds: Double
        /// The slot's series.
        package var source: SlotSource
    }

    /// The state machine's picture.
    package var snapshot: SupervisorSnapshot
    /// The live processes by birth.
    package var processes: [Int: Process] = [:]
    /// The slots that there have been.
    package var slots: [WorkerID: Slot] = [:]
    /// How long a worker may show no progress.
    package var livenessLimit: Duration
}
