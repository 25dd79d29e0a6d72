// SPDX-License-Identifier: Apache-2.0

import Foundation
import Muster

/// The service of mailer.py, ported by docs/migrating-from-oslo-service.md. A test runs it.
@main
struct Main {
    static func main() {
        ExitStatus {
            let environment = ProcessInfo.processInfo.environment
            try Backend.initialize(BackendType(environment["MAILER_BACKEND"] ?? "cooperative"))
            let workers = environment["MAILER_WORKERS"].flatMap { Int($0) } ?? 3
            return try launch(Mailer(), workers: workers, restartMethod: .mutate).wait()
        }.exit()
    }
}

struct Unreachable: Error {}

struct Mailer: ServiceBase {
    let threadGroup = ThreadGroup(name: "mailer", capacity: 100)
    private let outbox = Outbox()

    func start() async throws {
        try await outbox.readSignature()
        try threadGroup.addTimer(name: "deliver", interval: .milliseconds(50)) { try await outbox.deliver() }
        try threadGroup.addDynamicTimer(name: "poll", maximumInterval: .seconds(60)) {
            say("polled")
            return .milliseconds(100)
        }
        let addresses = try await threadGroup.addThread(name: "import") { ["a@example.org", "b@example.org"] }
        say("imported", try await addresses.result().count)
    }

    func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {
        try await threadGroup.stop(graceful: graceful, until: deadline)
        say("stopped")
    }

    func reset() async throws {
        try await outbox.readSignature()
        say("reset", await outbox.signature)
    }
}

/// What upstream's service kept in its attributes.
actor Outbox {
    private(set) var signature = ""
    private var delivered = 0
    private var attempts = 0
    private let retry = RetryDecorator(
        maximumRetries: 3, delayIncrement: .milliseconds(10), maximumDelay: .seconds(1)
    ) { $0 is Unreachable }

    func readSignature() throws {
        let path = ProcessInfo.processInfo.environment["MAILER_SIGNATURE"] ?? ""
        signature = try String(contentsOfFile: path, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    func deliver() async throws {
        try await retry {
            attempts += 1
            if !attempts.isMultiple(of: 3) { throw Unreachable() }
        }
        delivered += 1
        say("delivered", signature, delivered)
    }
}

func say(_ what: String, _ details: Any...) {
    let line = [what, "\(getpid())"] + details.map { "\($0)" }
    FileHandle.standardOutput.write(Data("\(line.joined(separator: " "))\n".utf8))
}
