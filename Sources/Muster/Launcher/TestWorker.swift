// SPDX-License-Identifier: Apache-2.0

package import Logging
import MusterExecution
import MusterLock
package import MusterPlatform
package import MusterSupervision

/// A worker without a process, for a test's supervisor: it runs a service as ``WorkerProgram`` does, gets as calls what
/// that gets as messages and signals, and says in a closure what that says to its supervisor.
package final class TestWorker: Sendable {
    /// What a supervisor sees of a worker.
    package enum Report: Sendable {
        case message(ControlMessage)
        /// The process has ended by itself.
        case exited(ExitStatus)
    }

    package let backend: Backend
    package let vitalSigns: VitalSignsReader
    private let life: ServiceRunner.Life
    private let runner: ServiceRunner
    private let toldDeadline: Locked<MonotonicInstant??>
    private let report: @Sendable (Report) -> Void

    /// - Parameters:
    ///   - backend: The worker's own, on a clock that the test moves.
    ///   - report: Called on any thread; does not block.
    package init(
        _ service: any ServiceBase, backend: Backend, settings: MusterSettings, logger: Logger,
        report: @escaping @Sendable (Report) -> Void
    ) throws {
        self.backend = backend
        self.report = report
        vitalSigns = try VitalSignsReader.create(name: "muster-test-vital-signs")
        backend.loops.publish(
            to: try VitalSignsWriter(descriptor: vitalSigns.descriptor.rawValue) {
                report(.message(.active))
                return true
            })
        backend.lease.connect { report(.message($0)) }
        let toldDeadline = Locked<MonotonicInstant??>(.none)
        self.toldDeadline = toldDeadline
        life = ServiceRunner.Life(
            logger: { logger }, failed: { report(.message(.startFailed(reason: "\($0)"))) })
        var dependencies = ServiceRunner.Dependencies(exitNow: { _ in })
        dependencies.toldDeadline = { toldDeadline.withLock { $0 } }
        runner = try ServiceRunner(
            life, backend: backend, settings: settings, watch: .test, dependencies: dependencies)
        try runner.services.register(service)
        life.whenReady { report(.message(.ready)) }
    }

    /// The group of one worker as a supervisor knows it.
    package static func group(_ options: WorkerOptions, _ settings: MusterSettings) -> WorkerGroupConfiguration {
        let service = ThreadGroupService(name: "test") { _ in }
        return LaunchedService(service: service, workers: 1, options: options).group(settings)
    }

    package func start() {
        runner.run { [report] in report(.exited($0)) }
    }

    /// SIGTERM, and until when.
    package func stop(until deadline: MonotonicInstant?) {
        toldDeadline.withLock { $0 = .some(deadline) }
        life.submit(.end(.success))
    }

    /// Takes up new settings in place.
    package func reset() {
        runner.reset { [report] in report(.message(.hasReset(succeeded: $0))) }
    }

    /// It has the lease of its periodic tasks.
    package func grant(_ records: String) {
        backend.lease.grant(records)
    }

    /// Ends it without a stop of the service: its process would be gone. What is left of its jobs is cancelled.
    package func kill() {
        life.submit(.interrupt)
        for job in backend.engine.ledger.jobs { job.cancel() }
    }
}
