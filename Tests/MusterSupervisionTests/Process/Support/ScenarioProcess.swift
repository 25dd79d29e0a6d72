// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterTestSupport

@testable import MusterSupervision

/// A process of the test's own: this very executable, started again, which runs one scenario on its main thread
/// and ends. For what a test cannot do to the test runner's process.
enum ScenarioProcess {
    fileprivate static let variable = "MUSTER_TEST_SCENARIO"

    /// Starts a scenario.
    static func start(_ scenario: Scenario, titleRoom: Int = 0, descriptors: [Int32] = []) throws -> ChildProcess {
        var request = SpawnRequest(title: "scenario", descriptors: descriptors)
        request.titleRoom = titleRoom
        request.environment[variable] = scenario.rawValue
        return try ChildProcess.spawn(request)
    }

    /// Runs a scenario and tells how the process ended.
    static func run(_ scenario: Scenario) async throws -> Termination {
        try await onThread { try start(scenario).waitForEnd().termination }
    }

    /// Lets processes that this one starts be no scenario.
    fileprivate static func forget() {
        unsetenv(variable)
    }
}

/// Runs before `main`, in every process of this executable, so that the main thread is still ours.
@section(".init_array") @used
private let beforeMain: @convention(c) () -> Void = {
    guard let name = getenv(ScenarioProcess.variable), let scenario = Scenario(rawValue: String(cString: name)) else {
        return
    }
    ScenarioProcess.forget()
    // A scenario that hangs is ended by the kernel.
    alarm(60)
    do {
        _exit(try scenario.run())
    } catch {
        _exit(100)
    }
}
