// SPDX-License-Identifier: Apache-2.0

import Foundation

/// How a test ends a worker, and what its supervisor should make of it.
struct WorkerEnd: Sendable, CustomStringConvertible {
    /// What ends it: a signal, or a command.
    enum Cause: Sendable {
        case signal(Int32)
        case command(String)
    }

    let description: String
    let cause: Cause
    /// The value of the label `reason`.
    let reason: String
    /// What the log says of it.
    let logged: String

    static let all = [
        WorkerEnd(description: "SIGTERM", cause: .signal(SIGTERM), reason: "exit", logged: "code=0"),
        WorkerEnd(description: "SIGKILL", cause: .signal(SIGKILL), reason: "signal", logged: "signal=SIGKILL"),
        WorkerEnd(description: "exit(0)", cause: .command("exit 0"), reason: "exit", logged: "code=0"),
        WorkerEnd(description: "exit(42)", cause: .command("exit 42"), reason: "exit", logged: "code=42"),
        WorkerEnd(description: "a trap", cause: .command("trap"), reason: "signal", logged: "signal=SIG"),
        WorkerEnd(description: "abort()", cause: .command("abort"), reason: "signal", logged: "signal=SIGABRT"),
    ]

    func happen(to program: TestProgram, pid: Int32) async throws {
        switch cause {
        case .signal(let number): kill(pid, number)
        case .command(let text): try await program.command(text)
        }
    }
}
