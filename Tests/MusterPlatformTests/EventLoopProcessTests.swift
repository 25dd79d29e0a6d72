// SPDX-License-Identifier: Apache-2.0

import Testing

/// What needs a process and a main thread of its own.
@Suite(.timeLimit(.minutes(3))) struct EventLoopProcessTests {
    @Test(arguments: Scenario.allCases)
    func `scenario`(_ scenario: Scenario) async throws {
        #expect(try await ChildProcess.run(scenario) == 0)
    }
}
