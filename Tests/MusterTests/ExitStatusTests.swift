// SPDX-License-Identifier: Apache-2.0

import Muster
import Testing

@Suite("The exit status")
struct ExitStatusTests {
    @Test("A program's status is its own, and 1 when it throws")
    func program() {
        #expect(Muster.ExitStatus { .success } == .success)
        #expect(Muster.ExitStatus { Muster.ExitStatus(rawValue: 42) }.rawValue == 42)
        #expect(Muster.ExitStatus { throw CancellationError() } == .failure)
    }
}
