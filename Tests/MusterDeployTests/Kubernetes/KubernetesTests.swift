// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite(
    "deploy/kubernetes",
    .enabled(if: Tools.kubectl != nil && Tools.readsYAML, "run scripts/install-packages test first"),
    .timeLimit(.minutes(5)))
struct KubernetesTests {
    @Test("every kustomization renders, fits Kubernetes' schemas and itself", arguments: Manifests.overlays)
    func overlay(folder: String) async throws {
        let manifests = try await Manifests.render(folder)
        #expect(ManifestRules.findings(in: manifests, settings: try settingsOfTheDocumentation()) == [])
        let temporary = try TemporaryFolder()
        // The operator's kinds are none of Kubernetes' own; they have schemas here.
        let own = manifests.text.components(separatedBy: "\n---\n")
            .filter { !$0.contains("apiVersion: monitoring.coreos.com/") }.joined(separator: "\n---\n")
        let file = try temporary.write(own + "\n", to: "manifests.yaml")
        let answer = try await Tools.answer(Tools.kubernetesValidate, ["--strict", file])
        #expect(answer.status == 0, "\(answer.output)\(answer.errors)")
        let known = manifests.objects.filter { $0["apiVersion"].string?.hasPrefix("monitoring.") != true }.count
        #expect((answer.output + answer.errors).components(separatedBy: " passed for ").count == known + 1)
    }

    @Test("the schemas are strict")
    func strictness() async throws {
        let wrong = try await Manifests.render("base").text
            .replacing("terminationGracePeriodSeconds:", with: "terminationGracePeriodSecond:")
        let file = try TemporaryFolder().keeping(wrong)
        let answer = try await Tools.answer(Tools.kubernetesValidate, ["--strict", file.path])
        #expect(answer.status != 0)
    }

    @Test("the operator's objects fit their schemas", .enabled(if: Tools.checkJSONSchema != nil, "no check-jsonschema"))
    func operatorObjects() async throws {
        let manifests = try await Manifests.render("overlays/production-guarded")
        for kind in ["PodMonitor", "PrometheusRule"] {
            let text = try #require(
                manifests.text.components(separatedBy: "\n---\n").first { $0.contains("\nkind: \(kind)\n") })
            let file = try TemporaryFolder().keeping(text + "\n")
            let schema = "\(Tools.here)/Schemas/\(kind.lowercased()).json"
            try await Tools.run(Tools.checkJSONSchema, "--schemafile", schema, file.path)
            // It would find what is misspelt.
            let wrong = try TemporaryFolder().keeping(
                text.replacing("  podMetricsEndpoints:", with: "  podMetricEndpoints:")
                    .replacing("expr: ", with: "expression: ") + "\n")
            let answer = try await Tools.answer(Tools.checkJSONSchema, ["--schemafile", schema, wrong.path])
            #expect(answer.status == 1)
        }
    }

    @Test("the rules are those of deploy/prometheus")
    func rules() async throws {
        let rule = try await Manifests.render("overlays/production-guarded").one("PrometheusRule")
        let folder = "\(Tools.root)/deploy/prometheus"
        let files = try await Tools.yaml("\(folder)/recording-rules.yml", "\(folder)/alerts.yml")
        let groups = files.flatMap { $0["groups"].items }
        #expect(!groups.isEmpty)
        #expect(
            rule["spec"]["groups"].items == groups, "run scripts/render-prometheus-rule, deploy/prometheus has changed")
    }

    @Test("staging compares two backends, alike but for that, behind one Service")
    func staging() async throws {
        let manifests = try await Manifests.render("overlays/staging")
        let deployments = manifests.all("Deployment")
        #expect(deployments.map(\.name).sorted() == ["muster-demo-cooperative", "muster-demo-threading"])
        func settings(_ deployment: JSONValue) throws -> [String: String] {
            let name = deployment.containers[0]["envFrom"][0]["configMapRef"]["name"].string
            return try manifests.one("ConfigMap", name)["data"].strings
        }
        var first = try settings(deployments[0])
        var second = try settings(deployments[1])
        #expect(
            Set([first.removeValue(forKey: "MUSTER_BACKEND"), second.removeValue(forKey: "MUSTER_BACKEND")])
                == ["cooperative", "threading"])
        #expect(first == second)
        #expect(deployments[0].containers[0]["image"] == deployments[1].containers[0]["image"])
        #expect(deployments[0].containers[0]["args"] == deployments[1].containers[0]["args"])
        #expect(deployments[0].containers[0]["resources"] == deployments[1].containers[0]["resources"])
        let common = try manifests.one("Service", "muster-demo")["spec"]["selector"]
        for deployment in deployments {
            let labels = deployment.podTemplate["metadata"]["labels"].strings
            #expect(common.selects(labels))
            #expect(manifests.all("Service").filter { $0["spec"]["selector"].selects(labels) }.count == 2)
        }
    }

    @Test("the canary is one worker of four")
    func canary() async throws {
        let deployment = try await Manifests.render("overlays/staging/canary").one("Deployment")
        let arguments = deployment.containers[0]["args"].items.compactMap(\.string)
        #expect(arguments.suffix(6) == ["--workers", "4", "--canary-backend", "threading", "--canary-percent", "25"])
    }

    @Test("the times and policies of every Deployment are those of the base", arguments: Manifests.overlays)
    func times(folder: String) async throws {
        let deployments = try await Manifests.render(folder).all("Deployment")
        #expect(!deployments.isEmpty)
        for deployment in deployments {
            #expect(deployment["spec"]["progressDeadlineSeconds"].number == 300)
            let container = deployment.containers[0]
            #expect(container["terminationMessagePolicy"] == "FallbackToLogsOnError")
            #expect(container["livenessProbe"]["terminationGracePeriodSeconds"].number == 10)
            #expect(container["startupProbe"]["terminationGracePeriodSeconds"].number == 5)
            #expect(container["startupProbe"]["periodSeconds"].number == 2)
            #expect(container["startupProbe"]["failureThreshold"].number == 75)
        }
    }

    @Test("production takes its pods apart and its image from elsewhere")
    func production() async throws {
        let manifests = try await Manifests.render("overlays/production")
        let deployment = try manifests.one("Deployment")
        #expect(deployment["spec"]["replicas"].number == 3)
        #expect(deployment.podTemplate["spec"]["topologySpreadConstraints"].items.count == 2)
        #expect(deployment.containers[0]["image"].string?.hasPrefix("registry.example.com/") == true)
        #expect(
            try manifests.one("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted")
        #expect(
            manifests.objects.allSatisfy {
                $0["kind"] == "Namespace" || $0["metadata"]["namespace"] == "muster-production"
            })
    }
}

/// A file in a folder that is removed with it.
struct KeptFile {
    let folder: TemporaryFolder
    let path: String
}

extension TemporaryFolder {
    func keeping(_ text: String) throws -> KeptFile {
        KeptFile(folder: self, path: try write(text, to: "file.yaml"))
    }
}
