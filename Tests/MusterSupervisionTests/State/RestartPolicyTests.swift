// SPDX-License-Identifier: Apache-2.0

import MusterSupervision
import Testing

@Suite("Restart policies")
struct RestartPolicyTests {
    @Test(
        "Policies are read from their names",
        arguments: [("always", RestartPolicy.always), ("on-failure", .onFailure), ("never", .never)])
    func names(text: String, policy: RestartPolicy) {
        #expect(RestartPolicy(rawValue: text) == policy)
        #expect(policy.rawValue == text)
    }
}
