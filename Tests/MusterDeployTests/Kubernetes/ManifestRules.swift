// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterPlatform

/// What has to hold for a set of Kubernetes objects and what no schema says: that they fit each other, and that their
/// numbers fit Muster's settings.
struct ManifestRules {
    private let manifests: Manifests
    private let settings: Set<String>
    private var findings: [String] = []

    /// What is wrong with them.
    ///
    /// - Parameters:
    ///   - manifests: The objects.
    ///   - settings: The environment variables that mean something to the program.
    static func findings(in manifests: Manifests, settings: Set<String>) -> [String] {
        var rules = ManifestRules(manifests: manifests, settings: settings)
        for deployment in manifests.all("Deployment") { rules.check(deployment) }
        for service in manifests.all("Service") { rules.check(service: service) }
        for kind in ["PodDisruptionBudget", "NetworkPolicy", "PodMonitor"] {
            for object in manifests.all(kind) { rules.checkSelection(of: object) }
        }
        for policy in manifests.all("NetworkPolicy") { rules.check(policy: policy) }
        for monitor in manifests.all("PodMonitor") { rules.check(monitor: monitor) }
        for scaler in manifests.all("HorizontalPodAutoscaler") { rules.check(scaler: scaler) }
        rules.checkNamespaces()
        return rules.findings
    }

    private init(manifests: Manifests, settings: Set<String>) {
        self.manifests = manifests
        self.settings = settings
    }

    private mutating func expect(_ holds: Bool, _ object: JSONValue, _ finding: String) {
        if !holds { findings.append("\(object["kind"].string ?? "?") \(object.name): \(finding)") }
    }

    // MARK: Deployments

    private mutating func check(_ deployment: JSONValue) {
        let template = deployment.podTemplate
        let labels = template["metadata"]["labels"].strings
        expect(deployment["spec"]["selector"].selects(labels), deployment, "its selector does not fit its pods")
        let rivals = manifests.all("Deployment").filter { $0["spec"]["selector"].selects(labels) }
        expect(rivals.count == 1, deployment, "its pods are selected by \(rivals.count) Deployments")
        let account = template["spec"]["serviceAccountName"].string ?? "default"
        let accounts = manifests.all("ServiceAccount").map(\.name)
        expect(accounts.contains(account), deployment, "no ServiceAccount \(account)")
        for constraint in template["spec"]["topologySpreadConstraints"].items {
            expect(constraint["labelSelector"].selects(labels), deployment, "it spreads other pods than its own")
        }
        checkPod(deployment)
        for container in deployment.containers.items {
            checkSecurity(container, deployment)
            checkProbes(container, deployment)
            checkSettings(container, deployment)
            checkMounts(container, deployment)
            checkStorage(container, deployment)
            expect(
                container["terminationMessagePolicy"] == "FallbackToLogsOnError", deployment,
                "kubectl describe does not show why a container ended")
        }
    }

    private mutating func checkPod(_ deployment: JSONValue) {
        let pod = deployment.podTemplate["spec"]
        expect(pod["automountServiceAccountToken"].bool == false, deployment, "a token is mounted that nobody uses")
        expect(pod["enableServiceLinks"].bool == false, deployment, "Services get into the environment")
        let security = pod["securityContext"]
        expect(security["runAsNonRoot"].bool == true, deployment, "it may run as root")
        expect((security["runAsUser"].number ?? 0) > 0, deployment, "no user is named")
        expect((security["runAsGroup"].number ?? 0) > 0, deployment, "no group is named")
        expect(
            ["RuntimeDefault", "Localhost"].contains(security["seccompProfile"]["type"].string), deployment,
            "no seccomp profile")
        for sharing in ["hostNetwork", "hostPID", "hostIPC"] {
            expect(pod[sharing].bool != true, deployment, "\(sharing)")
        }
        for volume in pod["volumes"].items {
            let permitted = ["configMap", "secret", "emptyDir", "projected", "persistentVolumeClaim", "downwardAPI"]
            expect(
                !Set(volume.members.keys).isDisjoint(with: permitted), deployment,
                "the volume \(volume["name"].string ?? "") is of a kind that the profile restricted forbids")
            if volume["emptyDir"] != .null {
                expect(volume["emptyDir"]["sizeLimit"] != .null, deployment, "an emptyDir without a limit")
            }
        }
    }

    private mutating func checkSecurity(_ container: JSONValue, _ deployment: JSONValue) {
        let security = container["securityContext"]
        expect(security["allowPrivilegeEscalation"].bool == false, deployment, "it may gain privileges")
        expect(security["readOnlyRootFilesystem"].bool == true, deployment, "its root file system is writable")
        expect(security["capabilities"]["drop"].items.contains("ALL"), deployment, "it keeps capabilities")
        expect(security["capabilities"]["add"] == .null, deployment, "it is given capabilities")
        expect(security["privileged"].bool != true, deployment, "it is privileged")
        let resources = container["resources"]
        for resource in ["cpu", "memory"] {
            expect(resources["requests"][resource] != .null, deployment, "no request for \(resource)")
        }
        expect(resources["limits"]["memory"] != .null, deployment, "no limit for memory")
        expect(resources["limits"]["cpu"] == .null, deployment, "a limit for the processor stops all workers at once")
        let image = container["image"].string ?? ""
        let name = image.split(separator: "/").last ?? ""
        expect(
            image.contains("@sha256:") || (name.contains(":") && !name.hasSuffix(":latest")), deployment,
            "the image '\(image)' has no version")
    }

    private mutating func checkMounts(_ container: JSONValue, _ deployment: JSONValue) {
        let volumes = deployment.podTemplate["spec"]["volumes"].items
        for mount in container["volumeMounts"].items {
            expect(volumes.contains { $0["name"] == mount["name"] }, deployment, "a mount without a volume")
        }
        for name in volumes.compactMap({ $0["configMap"]["name"].string }) {
            expect(manifests.all("ConfigMap").contains { $0.name == name }, deployment, "no ConfigMap \(name)")
        }
    }

    /// The demo has to refuse items before the kubelet evicts the pod for what they use.
    private mutating func checkStorage(_ container: JSONValue, _ deployment: JSONValue) {
        let arguments = container["args"].items.compactMap(\.string)
        func argument(_ option: String) -> String? {
            arguments.firstIndex(of: option).flatMap { $0 + 1 < arguments.count ? arguments[$0 + 1] : nil }
        }
        func mebibytes(_ text: String?, _ unit: String) -> Int? {
            text.flatMap { $0.hasSuffix(unit) ? Int($0.dropLast(unit.count)) : nil }
        }
        let path = argument("--data") ?? ""
        let mount = container["volumeMounts"].items.first { path.hasPrefix("\($0["mountPath"].string ?? "?")/") }
        let volume = deployment.podTemplate["spec"]["volumes"].items.first { $0["name"] == mount?["name"] }
        guard let size = mebibytes(volume?["emptyDir"]["sizeLimit"].string, "Mi") else {
            return expect(false, deployment, "a restarted container does not find its items in its volume")
        }
        // A quarter is for folders, and for files that are not items.
        let limit = mebibytes(argument("--data-limit"), "MiB") ?? .max
        expect(limit <= size * 3 / 4, deployment, "the items may fill the volume, and the pod is evicted")
    }

    private mutating func checkProbes(_ container: JSONValue, _ deployment: JSONValue) {
        let ports = container["ports"].items.compactMap { $0["name"].string }
        let schemes = Set(
            ["startupProbe", "livenessProbe", "readinessProbe"].map { container[$0]["httpGet"]["scheme"] })
        expect(schemes.count == 1, deployment, "its probes have different schemes")
        let paths = [("startupProbe", "/startupz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
        for (probe, path) in paths {
            let get = container[probe]["httpGet"]
            expect(get["path"].string == path, deployment, "its \(probe) does not ask \(path)")
            expect(ports.contains(get["port"].string ?? ""), deployment, "its \(probe) asks a port that it has not")
        }
    }

    // MARK: Settings

    private mutating func checkSettings(_ container: JSONValue, _ deployment: JSONValue) {
        var environment: [String: String] = [:]
        for source in container["envFrom"].items {
            let name = source["configMapRef"]["name"].string ?? ""
            guard let map = manifests.all("ConfigMap").first(where: { $0.name == name }) else {
                expect(false, deployment, "no ConfigMap \(name)")
                continue
            }
            // kustomize adds the hash of the content, of ten letters and digits.
            expect(name.contains(/-[a-z0-9]{10}$/), deployment, "the name \(name) does not change with its content")
            environment.merge(map["data"].strings) { $1 }
        }
        for variable in container["env"].items {
            environment[variable["name"].string ?? ""] = variable["value"].string
        }
        for name in environment.keys.filter({ $0.hasPrefix("MUSTER_") }).sorted() {
            expect(settings.contains(name), deployment, "\(name) is no setting")
        }
        let backend = environment["MUSTER_BACKEND"] ?? "cooperative"
        expect(["cooperative", "threading"].contains(backend), deployment, "MUSTER_BACKEND is '\(backend)'")
        let read: MusterSettings
        do {
            read = try MusterSettings(environment: environment)
        } catch {
            return expect(false, deployment, "\(error)")
        }
        checkNumbers(read, container, deployment)
        checkEndpoint(read, container, deployment)
    }

    private mutating func checkNumbers(_ settings: MusterSettings, _ container: JSONValue, _ deployment: JSONValue) {
        let grace = deployment.podTemplate["spec"]["terminationGracePeriodSeconds"].number ?? 30
        expect(settings.gracefulShutdownTimeout > .zero, deployment, "a shutdown without end outlasts the grace period")
        expect(
            .seconds(grace) > settings.shutdownDelay + settings.gracefulShutdownTimeout, deployment,
            "the grace period of \(grace) s ends before Muster's shutdown")
        expect(settings.shutdownDelay > .zero, deployment, "no shutdown delay: load balancers send to closed sockets")
        // A worker is not up in time, and ended; its successor has as long.
        let startup = Self.allowance(container["startupProbe"])
        expect(
            startup > settings.startupTimeout * 2 + settings.abortGrace, deployment,
            "the startup probe gives up before the supervisor's second try")
        let minimum = Duration.seconds(deployment["spec"]["minReadySeconds"].number ?? 0)
        let deadline = Duration.seconds(deployment["spec"]["progressDeadlineSeconds"].number ?? 600)
        expect(deadline > startup + minimum, deployment, "a rollout has failed before a slow start has")
        expect(deadline <= .seconds(300), deployment, "a rollout that is stuck is reported after \(deadline)")
        // Found to be hung, ended in vain, found to be still there.
        let replacement = settings.livenessLimit + settings.abortGrace
        expect(
            Self.allowance(container["livenessProbe"]) > replacement, deployment,
            "the liveness probe gives up before the supervisor")
        expect((container["livenessProbe"]["timeoutSeconds"].number ?? 1) > 1, deployment, "1 s is short for /livez")
        // What a probe ends serves nothing, or cannot stop gracefully: the pod's grace period would be lost time.
        for probe in ["startupProbe", "livenessProbe"] {
            let own = container[probe]["terminationGracePeriodSeconds"].number ?? grace
            expect(own <= 10, deployment, "a container that its \(probe) ends has \(own) s")
            // Unless a hung worker remains: then the others stop gracefully.
            guard probe == "livenessProbe" else { continue }
            expect(
                .seconds(own) > settings.shutdownDelay, deployment,
                "a container that its \(probe) ends is killed within the shutdown delay")
        }
    }

    private mutating func checkEndpoint(_ settings: MusterSettings, _ container: JSONValue, _ deployment: JSONValue) {
        guard let address = settings.endpoint?.address, case .tcp(let host, let port) = address else {
            return expect(false, deployment, "its endpoint is not served at a port")
        }
        expect(["", "0.0.0.0", "::"].contains(host), deployment, "the kubelet does not reach \(host)")
        let declared = container["ports"].items.first { $0["name"].string == "http-metrics" }
        expect(
            declared?["containerPort"].number == Double(port), deployment,
            "the port http-metrics is not the endpoint's, \(port)")
    }

    private static func allowance(_ probe: JSONValue) -> Duration {
        .seconds((probe["periodSeconds"].number ?? 10) * (probe["failureThreshold"].number ?? 3))
    }

    // MARK: Namespaces

    private mutating func checkNamespaces() {
        let namespaces = manifests.all("Namespace")
        for object in manifests.objects {
            guard let name = object["metadata"]["namespace"].string else { continue }
            expect(namespaces.contains { $0.name == name }, object, "no Namespace \(name)")
        }
        for namespace in namespaces {
            let level = namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
            expect(level == "restricted", namespace, "it admits pods that are not restricted")
        }
    }

    // MARK: What selects pods

    private func pods(selectedBy selector: JSONValue) -> [JSONValue] {
        manifests.all("Deployment").map(\.podTemplate).filter {
            selector.selects($0["metadata"]["labels"].strings)
        }
    }

    private static func ports(of pod: JSONValue) -> Set<String> {
        Set(pod["spec"]["containers"].items.flatMap { $0["ports"].items }.compactMap { $0["name"].string })
    }

    private mutating func check(service: JSONValue) {
        let pods = pods(selectedBy: service["spec"]["selector"])
        expect(!pods.isEmpty, service, "it selects no pods")
        for port in service["spec"]["ports"].items {
            let target = port["targetPort"].string ?? ""
            expect(pods.allSatisfy { Self.ports(of: $0).contains(target) }, service, "no port '\(target)' in its pods")
            expect(target != "http-metrics", service, "it publishes the endpoint")
        }
    }

    private mutating func checkSelection(of object: JSONValue) {
        let spec = object["spec"]
        let selector = spec["podSelector"] == .null ? spec["selector"] : spec["podSelector"]
        expect(!pods(selectedBy: selector).isEmpty, object, "it selects no pods")
    }

    private mutating func check(policy: JSONValue) {
        let types = policy["spec"]["policyTypes"].items
        expect(types.contains("Ingress") && types.contains("Egress"), policy, "it leaves a direction open")
        let pods = pods(selectedBy: policy["spec"]["podSelector"])
        for rule in policy["spec"]["ingress"].items {
            expect(!rule["from"].items.isEmpty, policy, "a port is open for everybody")
            for port in rule["ports"].items.compactMap({ $0["port"].string }) {
                expect(pods.allSatisfy { Self.ports(of: $0).contains(port) }, policy, "no port '\(port)' in its pods")
            }
        }
    }

    private mutating func check(scaler: JSONValue) {
        let target = scaler["spec"]["scaleTargetRef"]["name"].string
        let deployments = manifests.all("Deployment").filter { $0.name == target }
        expect(!deployments.isEmpty, scaler, "it scales no Deployment")
        for deployment in deployments {
            expect(deployment["spec"]["replicas"] == .null, deployment, "its replicas are set, and scaled")
        }
    }

    private mutating func check(monitor: JSONValue) {
        let pods = pods(selectedBy: monitor["spec"]["selector"])
        let schemes = Set(
            pods.flatMap { $0["spec"]["containers"].items }
                .map { ($0["readinessProbe"]["httpGet"]["scheme"].string ?? "HTTP").lowercased() })
        for endpoint in monitor["spec"]["podMetricsEndpoints"].items {
            let port = endpoint["port"].string ?? ""
            expect(pods.allSatisfy { Self.ports(of: $0).contains(port) }, monitor, "no port '\(port)' in its pods")
            let scheme = endpoint["scheme"].string ?? "http"
            expect(schemes == [scheme], monitor, "it scrapes over \(scheme), the pods serve \(schemes.sorted())")
        }
    }
}
