// SPDX-License-Identifier: Apache-2.0

import Logging
import Muster
import MusterEndpoint
import MusterSupervision

/// What this executable is when it measures itself: a service under a supervisor, as anybody's would be.
struct SupervisedProgram {
    private static let marker = "--supervised"

    var backend: BackendType
    var workers: Int
    var spares = 0
    /// How many series each worker shows.
    var series = 0

    init(backend: BackendType, workers: Int, spares: Int = 0, series: Int = 0) {
        self.backend = backend
        self.workers = workers
        self.spares = spares
        self.series = series
    }

    /// Reads what ``arguments`` says; `nil` for the arguments of a benchmark.
    init?(arguments: [String]) {
        guard arguments.count == 6, arguments[1] == Self.marker else { return nil }
        backend = arguments[2] == "\(BackendType.threading)" ? .threading : .cooperative
        workers = Int(arguments[3]) ?? 1
        spares = Int(arguments[4]) ?? 0
        series = Int(arguments[5]) ?? 0
    }

    /// The arguments after the program's name.
    var arguments: [String] { [Self.marker, "\(backend)", "\(workers)", "\(spares)", "\(series)"] }

    /// Supervises; in a worker, runs the service.
    func run() -> ExitStatus {
        LoggingSystem.bootstrap { _ in SwiftLogNoOpLogHandler() }
        let backend = backend
        Backend.registerDefaultHook { backend }
        var settings = MusterSettings(
            endpoint: EndpointConfiguration(address: .tcp(host: "127.0.0.1", port: 0)), logOptions: false)
        // A kill is followed by a new worker at once, each time.
        settings.restartBackoff = RestartBackoff(base: .zero, maximum: .zero)
        settings.restartIntensity = nil
        if series > 0 { settings.arenaCapacity = 16 << 20 }
        do {
            let launcher = try ProcessLauncher(settings: settings, logger: Backends.silent)
            try launcher.launchService(
                TimedService(series: series), workers: workers, options: WorkerOptions(warmSpares: spares))
            launcher.whenReady {
                var port = 0
                if case .tcp(_, let served) = launcher.monitoring.address { port = Int(served) }
                SupervisionRecord(kind: .up, value: Int64(port)).send()
            }
            return launcher.wait()
        } catch {
            StandardError.print("muster-bench: \(error)")
            return .failure
        }
    }
}
