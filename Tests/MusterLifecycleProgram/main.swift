// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import Glibc
import Logging
import Muster
import MusterServiceLifecycle
import ServiceLifecycle

/// Writes a line, as one write: several processes share the pipe.
func say(_ text: String) {
    let bytes = Array("\(text) \(Worker.current?.description ?? "-") \(getpid())\n".utf8)
    _ = write(STDOUT_FILENO, bytes, bytes.count)
}

struct Failure: Error {}

/// Says what it meets. The first worker fails, or returns, when it is sent SIGUSR1.
struct Talker: ServiceLifecycle.Service {
    let name: String
    var fails: Bool?

    func run() async throws {
        say("\(name).run")
        if let fails, Worker.current?.slot == 0 {
            let told = try SignalHandler()
            let (signals, continuation) = AsyncStream.makeStream(of: Void.self)
            try told.addHandler(for: UnixSignal(rawValue: SIGUSR1)) { _ in continuation.yield() }
            say("\(name).armed")
            await cancelWhenGracefulShutdown { for await _ in signals { return } }
            if !Task.isShuttingDownGracefully {
                if fails { throw Failure() }
                return
            }
        } else {
            try await gracefulShutdown()
        }
        say("\(name).shutdown")
    }
}

let mode = CommandLine.arguments.count > 1 ? CommandLine.arguments[1] : ""
let logger = Logger(label: "program")
let launcher = try ProcessLauncher(settings: MusterSettings(endpoint: nil))
try launcher.launchService(
    LifecycleService(name: "api") {
        Talker(name: "api", fails: mode == "fail" ? true : mode == "return" ? false : nil)
    },
    workers: 2)
launcher.whenReady { say("ready") }
if mode == "group" {
    var services: [ServiceGroupConfiguration.ServiceConfiguration] = [.launcher(launcher)]
    if !Worker.isWorkerProcess { services.insert(.init(service: Talker(name: "other")), at: 0) }
    do {
        try await ServiceGroup(configuration: .init(services: services, logger: logger)).run()
        say("group.over")
    } catch {
        say("group.error")
        exit(3)
    }
} else {
    launcher.wait().exit()
}
#endif
