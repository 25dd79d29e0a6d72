// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import Muster

/// The program that the tests of processes drive: a service that does what it is told over a listening socket, and
/// tells what happens in lines on standard output. Settings are read as every program's are.
@main
struct MusterTestProgram {
    static func main() {
        let options = ProgramOptions()
        DiagnosticsConsole.runClient()?.exit()
        if options.tellsRole { return say(Worker.isWorkerProcess ? "worker" : "no worker") }
        if options.crashesEarly, Worker.isWorkerProcess { abort() }
        if options.endsWithInput, !Worker.isWorkerProcess { endWithInput() }
        LoggingSystem.bootstrap { label in
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = options.isQuiet ? .critical : .debug
            return MusterLogHandler(handler, label: label)
        }
        Backend.registerDefaultHook {
            if let slot = options.canarySlot, Worker.current?.slot == slot { return .threading }
            return options.backend
        }
        ExitStatus { try run(options) }.exit()
    }

    private static func run(_ options: ProgramOptions) throws -> ExitStatus {
        var settings = try MusterSettings.load()
        if let method = options.setMethod { settings.restartMethod = method }
        if let timeout = options.setTimeout { settings.gracefulShutdownTimeout = timeout }
        if options.handlesUserSignal {
            // Kept by nobody.
            try SignalHandler().addHandler(for: .user1) { _ in
                say("handled \(Worker.current?.description ?? "-") \(getpid())")
            }
        }
        if let type = options.explicitBackend { try Backend.initialize(type) }
        if options.inProcess {
            let launcher = try ServiceLauncher(name: "test", settings: settings, restartMethod: options.method)
            let socket = try launcher.listen("commands", on: options.socket, setting: "--socket")
            let service = CommandService(name: "test", socket: socket, options: options)
            service.register(checks: launcher.health)
            try launcher.launchService(service)
            launcher.whenReady { say("launcher ready \(launcher.monitoring.url ?? "-") \(socket.address)") }
            if options.restartsEarly { launcher.restart() }
            return launcher.wait()
        }
        let launcher = try ProcessLauncher(settings: settings, restartMethod: options.method)
        let socket = try launcher.listen("commands", on: options.socket, setting: "--socket")
        for name in options.services {
            let service = CommandService(name: name, socket: socket, options: options)
            service.register(checks: launcher.health)
            try launcher.launchService(service, workers: options.workers, options: options.workerOptions)
        }
        launcher.whenReady {
            if let (label, level) = options.logLevel { try? LogLevels.shared.set(level, for: label) }
            say("launcher ready \(launcher.monitoring.url ?? "-") \(socket.address)")
        }
        // In a worker it would restart the services of that one.
        if options.restartsEarly, !Worker.isWorkerProcess { launcher.restart() }
        if options.isAsynchronous { return runAsynchronously(launcher) }
        return launcher.wait()
    }

    /// A test runner that is killed leaves nobody behind.
    private static func endWithInput() {
        try? NativeThread.start(name: "input") {
            var byte: UInt8 = 0
            while read(STDIN_FILENO, &byte, 1) > 0 {}
            kill(getpid(), SIGKILL)
        }
    }

    private static func runAsynchronously(_ launcher: ProcessLauncher) -> ExitStatus {
        let over = Completion<ExitStatus>()
        let done = DispatchlessLatch()
        Task {
            over.complete(with: await launcher.run())
            done.open()
        }
        done.wait()
        return over.value ?? .failure
    }
}
