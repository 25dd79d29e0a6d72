// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport

/// The pod of `deploy/kubernetes/base`, as podman plays it.
///
/// What is changed is what podman 4.3 does differently from a kubelet: it publishes every container port to the whole
/// world, takes no port names in probes, and carries out a liveness probe only when it is told to.
struct Pod {
    let container = "muster-demo-pod-0-muster-demo"
    private let podman: Podman
    private let folder = try? TemporaryFolder()
    private let file: String

    init(in podman: Podman) async throws {
        self.podman = podman
        guard let folder else { throw Program.Ended(description: "no temporary folder") }
        try FileManager.default.copyItem(
            atPath: "\(Tools.root)/deploy/kubernetes/base", toPath: folder.path("base"))
        try FileManager.default.createDirectory(atPath: folder.path("test"), withIntermediateDirectories: true)
        _ = try folder.write(
            """
            resources: [../base]
            images:
              - { name: localhost/muster-demo, newName: localhost/muster-test, newTag: slim }
            replicas:
              - { name: muster-demo, count: 1 }
            configMapGenerator:
              - name: muster-demo
                behavior: merge
                literals: [MUSTER_LIVENESS_LIMIT=1s, MUSTER_GRACEFUL_SHUTDOWN_TIMEOUT=1s, MUSTER_SHUTDOWN_DELAY=0s]
            patches:
              - target: { kind: Deployment }
                patch: |-
                  - { op: remove, path: /spec/template/spec/containers/0/ports }
                  - { op: replace, path: /spec/template/spec/containers/0/livenessProbe/httpGet/port, value: 9917 }
                  # One process, in which one request can block everything.
                  - { op: replace, path: /spec/template/spec/containers/0/args/3, value: "0" }
                  - { op: replace, path: /spec/template/spec/terminationGracePeriodSeconds, value: 2 }
                  # podman ends a pod with its last container, and a restart would race with that.
                  - op: add
                    path: /spec/template/spec/containers/-
                    value:
                      name: companion
                      image: localhost/muster-test:base
                      command: [/bin/sh, -c, "trap exit TERM; /usr/bin/sleep 100000 & wait"]

            """, to: "test/kustomization.yaml")
        file = try folder.write(try await Manifests.render(folder.path("test")).text, to: "pod.yaml")
    }

    func play() async throws {
        try await podman("kube", "play", "--network", "none", file)
        try await eventually("the demo in the pod") {
            try await podman.answer(["logs", container]).output.contains("muster-demo is ready") ? () : nil
        }
    }

    func down() async throws { try await podman("kube", "down", file) }

    /// Carries the liveness probe out.
    func isHealthy() async throws -> Bool {
        let answer = try await podman.answer(["healthcheck", "run", container])
        guard answer.status == 0 || answer.output.contains("unhealthy") else {
            throw Program.Ended(description: "no probe: \(answer)")
        }
        return answer.status == 0
    }

    func curl(_ url: String) async throws -> String {
        try await podman("exec", container, "curl", "-sS", url)
    }

    /// When the container was started last.
    func started() async throws -> String {
        try await podman("inspect", "--format", "{{.State.StartedAt}}", container)
    }
}
