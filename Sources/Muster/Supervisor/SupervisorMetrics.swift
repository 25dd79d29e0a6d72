// SPDX-License-Identifier: Apache-2.0

import MusterMetrics
import MusterPlatform
import MusterSupervision

/// What the supervisor exports about its workers and itself.
final class SupervisorMetrics: MetricSource {
    let signals: CounterFamily
    private let reloads: CounterFamily
    private let supervisor = Locked<Supervisor?>(nil)

    init(registry: MetricRegistry) throws {
        signals = try registry.counterFamily(
            "muster_signals_total", help: "Signals received.", labelNames: ["signal"])
        reloads = try registry.counterFamily(
            "muster_reloads_total", help: "Reloads, by how they ended.", labelNames: ["method", "outcome"])
        for method in RestartMethod.allCases {
            for outcome in ReloadOutcome.allCases {
                _ = reloads.labels(method.rawValue, outcome.rawValue)
            }
        }
    }

    func show(_ supervisor: Supervisor) {
        self.supervisor.withLock { $0 = supervisor }
    }

    func reloadEnded(_ outcome: ReloadOutcome, method: RestartMethod) {
        reloads.labels(method.rawValue, outcome.rawValue).increment()
    }

    // MARK: At a scrape

    func prepare() -> any PreparedMetrics {
        guard let report = supervisor.withLock({ $0 })?.report else { return CollectorSource { [] }.prepare() }
        return CollectorSource { Self.families(report) }.prepare()
    }

    private static func families(_ report: SupervisorReport) -> [CollectedFamily] {
        var families = WorkerFamilies()
        for group in report.snapshot.groups {
            for slot in group.slots {
                let process = slot.birth.flatMap { report.processes[$0] }
                families.add(
                    slot, group: group.configuration.name, process: process, kept: report.slots[slot.worker])
            }
            families.add(statesOf: group)
        }
        return families.all
    }
}
