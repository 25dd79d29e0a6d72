// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "Trouble in a worker of the demo", .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
    .timeLimit(.minutes(3)))
struct SupervisedTroubleTests {
    private func expectRestart(_ demo: Demo, reason: String) async throws {
        _ = try await demo.metrics("the restart") { $0.restarts[reason] == 1 && $0.workers("ready") == 2 }
        #expect(try await demo.restarts() == [reason: 1])
        // Nobody else has noticed.
        for _ in 0..<20 { #expect(try await demo.get("/items", from: demo.ready.http).status == 200) }
        #expect(try await demo.get("/readyz").status == 200)
        demo.signal(SIGTERM)
        #expect(try await demo.status() == 0)
    }

    @Test("/crash costs its own request, and the log says where it was", arguments: DemoTests.backends)
    func crash(backend: String) async throws {
        // A worker that writes its backtrace does nothing else, and takes its time on an overloaded machine.
        let demo = try await Demo(backend: backend, options: ["--workers", "2", "--liveness-limit", "60s"])
        await #expect(throws: (any Error).self) { try await demo.get("/crash", from: demo.ready.http) }
        try await expectRestart(demo, reason: "signal")
        if HangTests.backtracer != nil { #expect(demo.log.contains("crashBecauseARequestAskedForIt")) }
    }

    @Test("/exit costs its own request", arguments: [0, 3])
    func exit(code: Int) async throws {
        let demo = try await Demo(backend: nil, options: ["--workers", "2"])
        await #expect(throws: (any Error).self) { try await demo.get("/exit?code=\(code)", from: demo.ready.http) }
        try await expectRestart(demo, reason: "exit")
        #expect(demo.log.split(separator: "\n").contains { $0.contains("code=\(code) ") && $0.contains("reason=exit") })
    }

    @Test(
        "/leak costs the worker that leaks, when the memory of the group is limited",
        .enabled(if: MemoryGroup.isPermitted, "no child of this process' memory cgroup can be made"))
    func leak() async throws {
        let group = try MemoryGroup(limit: 300 << 20)
        let demo = try await Demo(
            backend: nil, options: ["--workers", "2"], preparation: "echo $$ > '\(group.processes)'")
        await #expect(throws: (any Error).self) { try await demo.get("/leak?mb=600", from: demo.ready.http) }
        try await expectRestart(demo, reason: "oom")
    }

    @Test(
        "/leak is survived without a failed request where workers are recycled",
        .enabled(if: Wrk.isInstalled, "install wrk for this test"), arguments: DemoTests.backends)
    func recycled(backend: String) async throws {
        let demo = try await Demo(
            backend: backend, options: ["--workers", "2"],
            environment: ["MUSTER_RECYCLE_MEMORY": "64MiB", "MUSTER_RECYCLE_MINIMUM_AGE": "500ms"])
        let wrk = try Wrk(demo.ready.http + "/items", connections: 8)
        _ = try await eventually("recycled workers") {
            for _ in 0..<4 { #expect(try await demo.get("/leak?mb=16", from: demo.ready.http).status == 200) }
            return try await demo.restarts()["recycled"] ?? 0 >= 4 ? true : nil
        }
        let report = try await wrk.report()
        print("/leak on \(backend): \(report); restarts \(try await demo.restarts())")
        #expect(report.requests > 100)
        #expect(report.failures == 0, "\(report)")
        #expect(try await demo.restarts().keys.sorted() == ["recycled"])
        demo.signal(SIGTERM)
        #expect(try await demo.status() == 0)
    }

    @Test(
        "a control group that the kernel kills as a whole is warned of",
        .enabled(if: MemoryGroup.canKillWhole, "no memory.oom.group can be set"))
    func wholeGroup() async throws {
        let group = try MemoryGroup(limit: 300 << 20)
        try group.killWhole()
        let demo = try await Demo(
            backend: nil, options: ["--workers", "2"], preparation: "echo $$ > '\(group.processes)'")
        #expect(demo.log.contains("memory.oom.group is set"))
    }
}
