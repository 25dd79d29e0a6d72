// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import MusterHealth
import MusterMetrics
public import MusterPlatform

/// Shows and controls a running program over a socket: workers, jobs, loops, metrics, settings; reload, scale, replace, stop.
///
/// A launcher starts it when the setting `muster.console` says where; a supervisor's reaches its workers, too. Only the
/// user of the program and root are admitted. Nothing that a client sends is evaluated as code.
public final class DiagnosticsConsole: BackendComponent, Sendable {
    private let server: ConsoleServer
    /// Where it listens: the path of its Unix socket, or its port on the loopback interface.
    public let address: ListenAddress

    private init(_ server: ConsoleServer, _ address: ListenAddress) {
        self.server = server
        self.address = address
    }

    /// Runs this program as the client of its own console when its first argument is `ctl`: `mailer ctl reload`. The
    /// function `launch` does so by itself.
    ///
    /// ```swift
    /// DiagnosticsConsole.runClient()?.exit()
    /// ```
    ///
    /// - Returns: The exit status of the client; `nil` when the program is to run as usual.
    public static func runClient() -> ExitStatus? {
        let arguments = CommandLine.arguments
        guard arguments.count > 1, arguments[1] == "ctl", !Worker.isWorkerProcess else { return nil }
        let name = arguments[0].split(separator: "/").last.map(String.init) ?? arguments[0]
        return ConsoleClient.run(Array(arguments.dropFirst(2)), program: "\(name) ctl")
    }

    /// Starts a console where a setting names a place.
    ///
    /// - Parameter mayReplace: Whether the living process of a number may lose its place.
    /// - Throws: `ListenError`; `SystemError` when there is no thread or descriptor for it.
    static func start(
        _ place: ConsolePlace?, slot: String = ConsolePlace.mainSlot, in dependencies: ConsoleHost.Dependencies,
        mayReplace: (Int32) -> Bool = { _ in false }, logger: Logger
    ) throws -> DiagnosticsConsole? {
        guard let place else { return nil }
        let socket = try place.open(slot: slot, mayReplace: mayReplace) { problem in
            logger.warning("\(problem)", metadata: ["setting": "\(ConsolePlace.key)", "value": "\(place)"])
        }
        let host = ConsoleHost(dependencies, logger: logger)
        do {
            let server = try ConsoleServer(socket: socket, logger: logger) { request, peer, loop, complete in
                host.respond(to: request, of: peer, on: loop, complete: complete)
            }
            try server.start()
            logger.info("diagnostics console listening", metadata: ["address": "\(socket.address)"])
            return DiagnosticsConsole(server, socket.address)
        } catch {
            // Or clients would wait at it.
            socket.unlinkFile()
            socket.closeDescriptor()
            throw error
        }
    }

    /// Starts the console of one process: of a program that has no other, or of a worker.
    static func start(
        _ place: ConsolePlace?, of worker: Worker, backend: Backend, health: HealthRegistry,
        exposition: Exposition? = nil, logger: Logger, settings: @escaping @Sendable () -> MusterSettings,
        state: @escaping @Sendable () -> WorkerState, reload: @escaping @Sendable () -> Void,
        stop: @escaping @Sendable () -> Void
    ) throws -> DiagnosticsConsole? {
        guard let place else { return nil }
        let reader = try backend.metrics.reader()
        let labels = [(name: "worker", value: "\(worker.slot)"), (name: "worker_group", value: worker.group)]
        let status = SingleProcessStatus(
            name: worker.group, slot: worker.slot, backend: backend, reader: reader, sampler: ProcessSampler(),
            liveness: settings().livenessLimit)
        status.show(state)
        let isWorker = Worker.isWorkerProcess
        let dependencies = ConsoleHost.Dependencies(
            status: status, health: health,
            exposition: exposition
                ?? Exposition(sources: [ArenaSource(reader: reader, constantLabels: labels)], logger: logger),
            settings: settings,
            readers: { [ConsoleHost.Reader(group: worker.group, slot: worker.slot, series: reader)] }, reload: reload,
            stop: stop, name: "\(worker)", worker: ConsoleWorker { backend },
            inspected: { ConsoleRelay.matches($0, worker.group, worker.slot) ? [.own("\(worker)")] : [] })
        let supervisor = getppid()
        return try start(
            place, slot: isWorker ? "\(worker.group)-\(worker.slot)" : ConsolePlace.mainSlot, in: dependencies,
            // In a rolling reload the former worker of the slot still has it.
            mayReplace: { isWorker && parent(of: $0) == supervisor }, logger: logger)
    }

    private static func parent(of pid: Int32) -> Int32? {
        SmallFile.statFields(in: "/proc/\(pid)")?.dropFirst().first.flatMap { Int32($0) }
    }

    /// Ends it. From any thread.
    func stop() {
        server.stop()
    }
}
