// SPDX-License-Identifier: Apache-2.0

import Foundation
import Muster

/// A program whose `main` is asynchronous: the tests run it on both backends, in one process and with workers.
@main
struct AsynchronousProgram {
    static func main() async throws {
        let environment = ProcessInfo.processInfo.environment
        try Backend.initialize(BackendType(environment["PROGRAM_BACKEND"] ?? "cooperative"))
        let workers = environment["PROGRAM_WORKERS"].flatMap { Int($0) } ?? 1
        try await launch(Talker(), workers: workers, restartMethod: .mutate).run().exit()
    }
}

struct Talker: ServiceBase {
    let threadGroup = ThreadGroup(name: "talker")

    func start() async throws {
        try threadGroup.addTimer(name: "talk", interval: .milliseconds(50)) { say("runs") }
        // The main actor is free meanwhile.
        await MainActor.run { say("main") }
    }

    func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {
        try await threadGroup.stop(graceful: graceful, until: deadline)
        say("stopped")
    }

    func reset() async throws { say("reset") }
}

func say(_ what: String) {
    FileHandle.standardOutput.write(Data("\(what) \(getpid())\n".utf8))
}
