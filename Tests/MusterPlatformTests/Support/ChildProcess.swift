// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterTestSupport

/// A process of the test's own: this very executable, started again, which runs one scenario on its main thread
/// and ends. For what a test cannot do to the test runner's process or on its main thread.
enum ChildProcess {
    fileprivate static let variable = "MUSTER_TEST_SCENARIO"

    /// Runs a scenario and tells how the process ended.
    ///
    /// - Returns: What it ended with, or minus the number of the signal that ended it.
    static func run(_ scenario: Scenario) async throws -> Int32 {
        let name = scenario.rawValue
        return try await onThread {
            var process = pid_t()
            var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("scenario"), nil]
            var environment: [UnsafeMutablePointer<CChar>?] = [strdup("\(variable)=\(name)")]
            var entry = environ
            while let text = entry.pointee {
                environment.append(strdup(text))
                entry += 1
            }
            environment.append(nil)
            defer { for text in arguments + environment { free(text) } }
            let code = posix_spawn(&process, "/proc/self/exe", nil, nil, &arguments, &environment)
            guard code == 0 else { throw SystemError("posix_spawn", code: code) }
            var status: Int32 = 0
            while waitpid(process, &status, 0) < 0 {
                guard errno == EINTR else { throw SystemError("waitpid") }
            }
            return status & 0x7f == 0 ? (status >> 8) & 0xff : -(status & 0x7f)
        }
    }
}

/// Runs before `main`, in every process of this executable, so that the main thread is still ours.
@section(".init_array") @used
private let beforeMain: @convention(c) () -> Void = {
    guard let name = getenv(ChildProcess.variable), let scenario = Scenario(rawValue: String(cString: name)) else {
        return
    }
    unsetenv(ChildProcess.variable)
    // A scenario that hangs is ended by the kernel.
    alarm(60)
    _exit(scenario.run())
}
