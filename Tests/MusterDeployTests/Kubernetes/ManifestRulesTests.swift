// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "What is asked of Kubernetes objects",
    .enabled(if: Tools.kubectl != nil && Tools.readsYAML, "run scripts/install-packages test first"),
    .timeLimit(.minutes(5)))
struct ManifestRulesTests {
    /// Something that could be broken in the base, and what has to be said about it then.
    struct Fault: Sendable, CustomTestStringConvertible {
        let finding: String
        let kind: String
        let make: @Sendable (inout JSONValue) -> Void

        init(_ finding: String, _ kind: String = "Deployment", _ make: @escaping @Sendable (inout JSONValue) -> Void) {
            self.finding = finding
            self.kind = kind
            self.make = make
        }

        var testDescription: String { finding }
    }

    static let faults = [
        Fault("its selector does not fit its pods") { $0["spec"]["selector"]["matchLabels"] = ["app": "other"] },
        Fault("no ServiceAccount default") { $0.podTemplate["spec"]["serviceAccountName"] = nil },
        Fault("a token is mounted") { $0.podTemplate["spec"]["automountServiceAccountToken"] = true },
        Fault("Services get into the environment") { $0.podTemplate["spec"]["enableServiceLinks"] = nil },
        Fault("it may run as root") { $0.podTemplate["spec"]["securityContext"]["runAsNonRoot"] = nil },
        Fault("no user is named") { $0.podTemplate["spec"]["securityContext"]["runAsUser"] = 0.0 },
        Fault("no group is named") { $0.podTemplate["spec"]["securityContext"]["runAsGroup"] = nil },
        Fault("no seccomp profile") { $0.podTemplate["spec"]["securityContext"]["seccompProfile"] = nil },
        Fault("hostPID") { $0.podTemplate["spec"]["hostPID"] = true },
        Fault("forbids") { $0.podTemplate["spec"]["volumes"] = [["name": "tmp", "hostPath": ["path": "/tmp"]]] },
        Fault("an emptyDir without a limit") {
            $0.podTemplate["spec"]["volumes"] = [["name": "tmp", "emptyDir": ["medium": "Memory"]]]
        },
        Fault("it may gain privileges") { $0.containers[0]["securityContext"]["allowPrivilegeEscalation"] = nil },
        Fault("its root file system is writable") {
            $0.containers[0]["securityContext"]["readOnlyRootFilesystem"] = nil
        },
        Fault("it keeps capabilities") { $0.containers[0]["securityContext"]["capabilities"] = ["drop": ["CHOWN"]] },
        Fault("it is given capabilities") {
            $0.containers[0]["securityContext"]["capabilities"] = ["drop": ["ALL"], "add": ["NET_RAW"]]
        },
        Fault("it is privileged") { $0.containers[0]["securityContext"]["privileged"] = true },
        Fault("no request for memory") { $0.containers[0]["resources"]["requests"]["memory"] = nil },
        Fault("no limit for memory") { $0.containers[0]["resources"]["limits"] = nil },
        Fault("a limit for the processor") { $0.containers[0]["resources"]["limits"]["cpu"] = "1" },
        Fault("has no version") { $0.containers[0]["image"] = "registry.example.com:5000/muster-demo" },
        Fault("has no version") { $0.containers[0]["image"] = "muster-demo:latest" },
        Fault("a mount without a volume") { $0.podTemplate["spec"]["volumes"] = [] },
        Fault("different schemes") { $0.containers[0]["livenessProbe"]["httpGet"]["scheme"] = "HTTPS" },
        Fault("its startupProbe does not ask /startupz") {
            $0.containers[0]["startupProbe"]["httpGet"]["path"] = "/readyz"
        },
        Fault("its livenessProbe asks a port") { $0.containers[0]["livenessProbe"]["httpGet"]["port"] = "metrics" },
        Fault("no ConfigMap other") { $0.containers[0]["envFrom"] = [["configMapRef": ["name": "other"]]] },
        Fault("MUSTER_SHUTDOWN_DELEY is no setting") {
            $0.containers[0]["env"] = [["name": "MUSTER_SHUTDOWN_DELEY", "value": "1s"]]
        },
        Fault("MUSTER_LIVENESS_LIMIT") { $0.containers[0]["env"] = [["name": "MUSTER_LIVENESS_LIMIT", "value": "x"]] },
        Fault("a shutdown without end") {
            $0.containers[0]["env"] = [["name": "MUSTER_GRACEFUL_SHUTDOWN_TIMEOUT", "value": "0"]]
        },
        Fault("ends before Muster's shutdown") { $0.podTemplate["spec"]["terminationGracePeriodSeconds"] = 25.0 },
        Fault("no shutdown delay") { $0.containers[0]["env"] = [["name": "MUSTER_SHUTDOWN_DELAY", "value": "0s"]] },
        Fault("the startup probe gives up") { $0.containers[0]["startupProbe"]["failureThreshold"] = 67.0 },
        Fault("the startup probe gives up") {
            $0.containers[0]["env"] = [["name": "MUSTER_ABORT_GRACE", "value": "30s"]]
        },
        Fault("its startupProbe ends has 35.0 s") {
            $0.containers[0]["startupProbe"]["terminationGracePeriodSeconds"] = nil
        },
        Fault("its livenessProbe ends has 35.0 s") {
            $0.containers[0]["livenessProbe"]["terminationGracePeriodSeconds"] = nil
        },
        Fault("killed within the shutdown delay") {
            $0.containers[0]["livenessProbe"]["terminationGracePeriodSeconds"] = 5.0
        },
        Fault("kubectl describe does not show") { $0.containers[0]["terminationMessagePolicy"] = nil },
        Fault("a rollout that is stuck is reported after 600") { $0["spec"]["progressDeadlineSeconds"] = nil },
        Fault("a rollout has failed before") { $0["spec"]["progressDeadlineSeconds"] = 155.0 },
        Fault("does not find its items") { $0.containers[0]["args"] = ["--http", ":8080", "--data-limit", "48MiB"] },
        Fault("does not find its items") { $0.containers[0]["args"] = ["--data", "/var/items"] },
        Fault("the items may fill the volume") { $0.containers[0]["args"] = ["--data", "/tmp/items"] },
        Fault("the items may fill the volume") {
            $0.containers[0]["args"] = ["--data", "/tmp/items", "--data-limit", "64MiB"]
        },
        Fault("MUSTER_BACKEND is 'thread'") {
            $0.containers[0]["env"] = [["name": "MUSTER_BACKEND", "value": "thread"]]
        },
        Fault("the liveness probe gives up") { $0.containers[0]["livenessProbe"]["periodSeconds"] = 8.0 },
        Fault("1 s is short") { $0.containers[0]["livenessProbe"]["timeoutSeconds"] = nil },
        Fault("the kubelet does not reach 127.0.0.1") {
            $0.containers[0]["env"] = [["name": "MUSTER_ENDPOINT_ADDRESS", "value": "127.0.0.1:9917"]]
        },
        Fault("is not the endpoint's, 9918") {
            $0.containers[0]["env"] = [["name": "MUSTER_ENDPOINT_ADDRESS", "value": ":9918"]]
        },
        Fault("it selects no pods", "Service") { $0["spec"]["selector"] = ["app": "other"] },
        Fault("no port 'web' in its pods", "Service") { $0["spec"]["ports"][0]["targetPort"] = "web" },
        Fault("it publishes the endpoint", "Service") { $0["spec"]["ports"][0]["targetPort"] = "http-metrics" },
        Fault("it selects no pods", "PodDisruptionBudget") { $0["spec"]["selector"]["matchLabels"] = ["app": "other"] },
        Fault("it selects no pods", "NetworkPolicy") { $0["spec"]["podSelector"]["matchLabels"] = ["app": "other"] },
        Fault("it leaves a direction open", "NetworkPolicy") { $0["spec"]["policyTypes"] = ["Ingress"] },
        Fault("a port is open for everybody", "NetworkPolicy") { $0["spec"]["ingress"][1]["from"] = [] },
        Fault("no port 'web' in its pods", "NetworkPolicy") { $0["spec"]["ingress"][0]["ports"][0]["port"] = "web" },
        Fault("does not change with its content", "ConfigMap") { $0["metadata"]["name"] = "fixed" },
    ]

    @Test("a fault in the base is found, and nothing in the base without one")
    func base() async throws {
        let settings = try settingsOfTheDocumentation()
        let base = try await Manifests.render("base")
        #expect(ManifestRules.findings(in: base, settings: settings) == [])
        for fault in Self.faults {
            var manifests = base
            manifests.change(fault.kind, fault.make)
            if fault.kind == "ConfigMap" {
                manifests.change("Deployment") { $0.containers[0]["envFrom"][0]["configMapRef"]["name"] = "fixed" }
            }
            let findings = ManifestRules.findings(in: manifests, settings: settings)
            #expect(findings.contains { $0.contains(fault.finding) }, "\(fault.finding): \(findings)")
        }
    }

    @Test("a PodMonitor that scrapes otherwise than the pods serve is found, and Deployments that share pods")
    func others() async throws {
        let settings = try settingsOfTheDocumentation()
        var guarded = try await Manifests.render("overlays/production-guarded")
        guarded.change("PodMonitor") { $0["spec"]["podMetricsEndpoints"][0]["scheme"] = "http" }
        #expect(
            ManifestRules.findings(in: guarded, settings: settings)
                == ["PodMonitor muster-demo: it scrapes over http, the pods serve [\"https\"]"])
        var staging = try await Manifests.render("overlays/staging")
        staging.change("Deployment") {
            $0["spec"]["selector"]["matchLabels"] = ["app.kubernetes.io/name": "muster-demo"]
        }
        let findings = ManifestRules.findings(in: staging, settings: settings)
        #expect(findings.contains { $0.contains("its pods are selected by 2 Deployments") }, "\(findings)")
    }

    @Test("a namespace that is missing, or admits everything, is found", arguments: Manifests.overlays.dropFirst())
    func namespaces(folder: String) async throws {
        let settings = try settingsOfTheDocumentation()
        var manifests = try await Manifests.render(folder)
        let name = try manifests.one("Namespace").name
        manifests.change("Namespace") { $0["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "baseline" }
        #expect(
            ManifestRules.findings(in: manifests, settings: settings)
                == ["Namespace \(name): it admits pods that are not restricted"])
        manifests.objects.removeAll { $0["kind"] == "Namespace" }
        let findings = ManifestRules.findings(in: manifests, settings: settings)
        #expect(findings.contains { $0.hasPrefix("Deployment ") && $0.hasSuffix("no Namespace \(name)") })
    }

    @Test("an autoscaler and a number of replicas are too many; the documentation says how to leave the number out")
    func autoscaler() async throws {
        let settings = try settingsOfTheDocumentation()
        let scaler = try await Tools.yaml(
            text: """
                apiVersion: autoscaling/v2
                kind: HorizontalPodAutoscaler
                metadata: { name: muster-demo }
                spec: { scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: muster-demo }, maxReplicas: 9 }
                """)
        var base = try await Manifests.render("base")
        base.objects += scaler
        #expect(
            ManifestRules.findings(in: base, settings: settings)
                == ["Deployment muster-demo: its replicas are set, and scaled"])

        let page = try String(contentsOfFile: "\(Tools.root)/docs/deploying.md", encoding: .utf8)
        let snippets = page.matches(of: /```yaml\n(.*?)```/.dotMatchesNewlines()).map { String($0.1) }
        let snippet = try #require(snippets.first { $0.contains("path: /spec/replicas") })
        let copy = try TemporaryFolder()
        try FileManager.default.copyItem(atPath: "\(Tools.root)/deploy/kubernetes/base", toPath: copy.path("base"))
        try FileManager.default.createDirectory(atPath: copy.path("scaled"), withIntermediateDirectories: true)
        _ = try copy.write("resources: [../base]\n" + snippet, to: "scaled/kustomization.yaml")
        var scaled = try await Manifests.render(copy.path("scaled"))
        scaled.objects += scaler
        #expect(ManifestRules.findings(in: scaled, settings: settings) == [])
    }
}
