// SPDX-License-Identifier: Apache-2.0

import MusterTestSupport
import Testing

/// What every deployment builds on: that the demo takes its settings from the environment.
@Suite("The demo's settings", .enabled(if: Demo.isBuilt, "build the demo first: make demo"), .timeLimit(.minutes(2)))
struct DemoSettingsTests {
    @Test("come from the environment, and from an option before that")
    func sources() async throws {
        let demo = try await Demo(
            backend: nil, options: ["--graceful-shutdown-timeout", "9s", "--log-level", "debug"],
            environment: [
                "MUSTER_GRACEFUL_SHUTDOWN_TIMEOUT": "7s", "MUSTER_SHUTDOWN_DELAY": "2s",
                "MUSTER_ENDPOINT_ADDRESS": "127.0.0.1:1",
            ])
        #expect(demo.log.contains("setting=muster.graceful-shutdown-timeout source=program value=9s"))
        #expect(demo.log.contains("setting=muster.shutdown-delay source=environment value=2s"))
        #expect(try await demo.get("/livez").body == "ok")
    }

    @Test("end the start when they cannot be used, and say which")
    func refusal() async throws {
        let program = try Program(
            Demo.binary ?? "", ["--http", "127.0.0.1:0", "--endpoint", "127.0.0.1:0"],
            environment: ["MUSTER_SHUTDOWN_DELAY": "soon"])
        #expect(try await program.status() == 1)
        #expect(program.errors.contains("MUSTER_SHUTDOWN_DELAY"))
        #expect(program.errors.contains("'soon'"))
    }
}
