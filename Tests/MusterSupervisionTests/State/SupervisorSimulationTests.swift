// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterTestSupport
import Testing

@testable import MusterSupervision

@Suite("Supervisor: simulation")
struct SupervisorSimulationTests {
    private static let chunks = 100

    @Test("Whatever happens in whichever order, what has to hold does", arguments: 0..<chunks)
    func randomSequences(chunk: Int) {
        for index in 0..<Scale.of(100_000 / Self.chunks) {
            let violation = SimulatedWorld.run(seed: UInt64(chunk * 1_000_000 + index))
            guard let violation else { continue }
            Issue.record("\(violation)\nReplay it with MUSTER_TEST_SEED.")
            return
        }
    }

    /// The seed from the environment, and some that are run always.
    private static let seeds: [UInt64] =
        [0, 1, 100] + (getenv("MUSTER_TEST_SEED").flatMap { UInt64(String(cString: $0)) }.map { [$0] } ?? [])

    @Test("One sequence, by its seed", arguments: seeds)
    func replay(seed: UInt64) {
        #expect(SimulatedWorld.run(seed: seed) == nil)
    }
}
