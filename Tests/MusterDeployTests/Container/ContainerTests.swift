// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "deploy/container", .serialized, .enabled(if: Podman.obstacle == nil, "\(Podman.obstacle ?? "")"), WithImages(),
    .timeLimit(.minutes(5)))
struct ContainerTests {
    @Test("the image without a shell serves, replaces a worker that crashes, and stops, with no rights and little room")
    func distroless() async throws {
        let images = try #require(Images.current)
        let podman = images.podman
        let name = "serving"
        let program = try podman.start([
            "run", "--name", name, "--pull=never", "--network", "none", "--read-only", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges", "--memory", "256m", "--pids-limit", "256", "--tmpfs",
            "/tmp:size=64m,mode=1777", "--read-only-tmpfs=false", "--env", "MUSTER_CONSOLE=/tmp/console.sock",
            Images.distroless,
        ])
        try await program.waitForOutput(containing: "muster-demo is ready, pid 1, 4 workers")
        try await expectConfinement(of: name, in: podman)

        // The image has no client; another container lends its own to the same network.
        func curl(_ arguments: String...) async throws -> Tools.Answer {
            try await podman.answer(
                ["run", "--rm", "--pull=never", "--network", "container:\(name)", Images.base, "curl", "-sS"]
                    + arguments)
        }
        #expect(try await curl("http://127.0.0.1:9917/readyz").output == "ok")
        #expect(try await curl("-X", "PUT", "--data", "hello", "http://127.0.0.1:8080/items/greeting").status == 0)
        #expect(try await curl("http://127.0.0.1:8080/items/greeting").output.contains("hello"))

        #expect(try await curl("http://127.0.0.1:8080/crash").status != 0)
        // Names: they are kept when the debugging information goes, and the backtracer works without privileges.
        try await program.waitForErrors(containing: "crashBecauseARequestAskedForIt")
        try await program.waitForErrors(containing: "restarting worker")
        let metrics = Samples(try await curl("http://127.0.0.1:9917/metrics").output)
        #expect(metrics.restarts == ["signal": 1])
        #expect(try await curl("http://127.0.0.1:9917/livez").output == "ok")

        // The program is its own client, with the image's own rights.
        let jobs = try await podman("exec", name, "muster-demo", "ctl", "jobs", "store/0")
        #expect(jobs.contains("store/0") && jobs.contains("await"))
        let threads = try await podman("exec", name, "muster-demo", "ctl", "threads", "store/0")
        #expect(threads.contains("MusterPlatform.EventLoop.run"))
        // An idle worker has few samples, or none; that it may be sampled is what counts.
        _ = try await podman("exec", name, "muster-demo", "ctl", "profile", "1", "store/0")
        #expect(try await podman("exec", name, "muster-demo", "ctl", "stop") == "stopping")
        #expect(try await program.status() == 0)
    }

    @Test(
        "the image without a shell recycles workers, and takes up a settings file that is replaced, with no rights",
        arguments: ["cooperative", "threading"])
    func recycling(backend: String) async throws {
        let podman = try #require(Images.current).podman
        let folder = try TemporaryFolder()
        _ = try folder.write(#"{"muster": {"recycle": {"age": "1s", "minimum-age": "500ms"}}}"#, to: "settings.json")
        let name = "recycling-\(backend)"
        let program = try podman.start([
            "run", "--name", name, "--pull=never", "--network", "none", "--read-only", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges", "--tmpfs", "/tmp:size=64m,mode=1777", "--read-only-tmpfs=false",
            "--volume", "\(folder.url.path):/settings:ro", "--env", "MUSTER_CONSOLE=/tmp/console.sock",
            "--env", "MUSTER_SETTINGS_FILE=/settings/settings.json", "--env", "MUSTER_SETTINGS_WATCH=true",
            "--env", "MUSTER_BACKEND=\(backend)", Images.distroless, "--workers", "2",
        ])
        try await program.waitForErrors(containing: "reason=recycled")
        try await expectConfinement(of: name, in: podman)
        let hourly = #"{"muster": {"recycle": {"age": "1h"}, "liveness-limit": "9s"}}"#
        _ = try folder.write(hourly, to: "settings.json")
        try await program.waitForErrors(containing: "reload completed")
        let settings = try await podman("exec", name, "muster-demo", "ctl", "settings", "liveness-limit")
        #expect(settings.contains("9s"))
        #expect(try await podman("exec", name, "muster-demo", "ctl", "stop") == "stopping")
        #expect(try await program.status() == 0)
    }

    /// What the kernel says of the container's first process.
    private func expectConfinement(of name: String, in podman: Podman) async throws {
        let pid = try await podman("inspect", "--format", "{{.State.Pid}}", name)
        let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
        #expect(status.contains("\nUid:\t65532\t65532\t65532\t65532\n"))
        #expect(status.contains("\nGid:\t65532\t65532\t65532\t65532\n"))
        #expect(status.contains("\nCapEff:\t0000000000000000\n"))
        #expect(status.contains("\nNoNewPrivs:\t1\n"))
        #expect(status.contains("\nSeccomp:\t2\n"))
        let mounts = try String(contentsOfFile: "/proc/\(pid)/mounts", encoding: .utf8).split(separator: "\n")
        #expect(mounts.contains { $0.contains(/^\S+ \/ \S+ ro,/) })
    }

    @Test("the image without a shell has none, and is little more than the program")
    func contents() async throws {
        let images = try #require(Images.current)
        let podman = images.podman
        let shell = try await podman.answer(
            ["run", "--rm", "--pull=never", "--network", "none", "--entrypoint", "/bin/sh", Images.distroless])
        #expect(shell.status == 127)
        func size(_ image: String) async throws -> Int {
            try #require(Int(try await podman("image", "inspect", "--format", "{{.Size}}", image)))
        }
        // libc, libstdc++, libmicrohttpd with GnuTLS: some 14 MB.
        #expect(try await size(Images.distroless) < images.programSize + 20 << 20)
        #expect(try await size(Images.distroless) < (try await size(Images.slim)))
        for image in [Images.slim, Images.distroless] {
            #expect(try await podman("image", "inspect", "--format", "{{.Config.User}}", image) == "65532:65532")
        }
    }

    @Test(
        "the image of the command line compares, with no rights",
        .enabled(if: MusterCommandLine.isBuilt, "build the command line first: make muster"))
    func commandLine() async throws {
        let podman = try #require(Images.current).podman
        func muster(_ arguments: String...) async throws -> Tools.Answer {
            try await podman.answer(
                [
                    "run", "--rm", "--pull=never", "--network", "none", "--read-only", "--cap-drop", "ALL",
                    "--security-opt", "no-new-privileges", Images.commandLine,
                ] + arguments)
        }
        #expect(try await muster("compare", "--list-quantities").output.contains("loop_lateness_p99"))
        let answer = try await muster("compare", "--prometheus", "http://127.0.0.1:9090")
        #expect(answer.status == 2 && answer.errors.contains("connection refused"), "\(answer.errors)")
        let user = try await podman("image", "inspect", "--format", "{{.Config.User}}", Images.commandLine)
        #expect(user == "65532:65532")
    }

    @Test(
        "podman plays the rendered base: its liveness probe fails, recovers, and restarts what does not",
        .enabled(
            if: Tools.kubectl != nil && Tools.readsYAML && find("catatonit") != nil,
            "install catatonit, and run scripts/install-packages test"))
    func kubePlay() async throws {
        let podman = try #require(Images.current).podman
        let pod = try await Pod(in: podman)
        try await pod.play()
        #expect(try await pod.curl("http://127.0.0.1:9917/readyz") == "ok")
        let environment = try await podman("exec", pod.container, "env")
        #expect(environment.contains("MUSTER_STARTUP_TIMEOUT=60s"))
        #expect(try await podman("exec", pod.container, "id", "-u") == "65532")
        let readOnly = try await podman("inspect", "--format", "{{.HostConfig.ReadonlyRootfs}}", pod.container)
        #expect(readOnly == "true")
        #expect(try await pod.isHealthy())

        // What blocks the only process for longer than MUSTER_LIVENESS_LIMIT makes the probe fail; then it recovers.
        let short = try podman.start(["exec", pod.container, "curl", "-sS", "http://127.0.0.1:8080/block?seconds=8"])
        try await eventually("a failing probe") { try await pod.isHealthy() ? nil : () }
        #expect(try await pod.curl("http://127.0.0.1:9917/livez").contains("[-]hub failed"))
        #expect(try await short.status() == 0)
        try await eventually("the probe's recovery") { try await pod.isHealthy() ? () : nil }
        let started = try await pod.started()

        // What stays blocked is restarted when the probe has failed as often as failureThreshold says.
        let long = try podman.start(["exec", pod.container, "curl", "-sS", "http://127.0.0.1:8080/block?seconds=600"])
        try await eventually("a failing probe") { try await pod.isHealthy() ? nil : () }
        #expect(try await pod.isHealthy() == false)
        #expect(try await pod.started() == started)
        #expect(try await pod.isHealthy() == false)
        #expect(try await pod.started() != started)
        #expect(try await long.status() != 0)
        try await eventually("a healthy container") { try await pod.isHealthy() ? () : nil }
        try await pod.down()
    }
}
