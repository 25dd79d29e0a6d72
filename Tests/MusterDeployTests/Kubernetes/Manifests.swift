// SPDX-License-Identifier: Apache-2.0

import MusterTestSupport

/// The objects that a kustomization renders to.
struct Manifests: Sendable {
    var objects: [JSONValue]
    /// As `kubectl` has written it.
    let text: String

    /// Every kustomization that is meant to be applied, below `deploy/kubernetes`.
    static let overlays = [
        "base", "overlays/staging", "overlays/staging/canary", "overlays/production", "overlays/production-guarded",
    ]

    /// Renders a kustomization.
    ///
    /// - Parameter folder: Its folder below `deploy/kubernetes`, or its whole path.
    static func render(_ folder: String) async throws -> Manifests {
        let path = folder.hasPrefix("/") ? folder : "\(Tools.root)/deploy/kubernetes/\(folder)"
        let text = try await Tools.run(Tools.kubectl, "kustomize", path)
        return Manifests(objects: try await Tools.yaml(text: text), text: text)
    }

    func all(_ kind: String) -> [JSONValue] { objects.filter { $0["kind"].string == kind } }

    /// The only one of its kind, or the one with that name.
    func one(_ kind: String, _ name: String? = nil) throws -> JSONValue {
        let found = all(kind).filter { name == nil || $0.name == name }
        guard found.count == 1 else {
            throw Program.Ended(description: "\(found.count) objects are a \(kind) \(name ?? "")")
        }
        return found[0]
    }

    /// Changes the first object of a kind.
    mutating func change(_ kind: String, _ change: (inout JSONValue) -> Void) {
        guard let index = objects.firstIndex(where: { $0["kind"].string == kind }) else { return }
        change(&objects[index])
    }
}

extension JSONValue {
    var name: String { self["metadata"]["name"].string ?? "" }
    var podTemplate: JSONValue {
        get { self["spec"]["template"] }
        set { self["spec"]["template"] = newValue }
    }
    var containers: JSONValue {
        get { podTemplate["spec"]["containers"] }
        set { podTemplate["spec"]["containers"] = newValue }
    }

    /// Whether labels are those that a selector wants.
    func selects(_ labels: [String: String]) -> Bool {
        let wanted = self["matchLabels"] == .null ? strings : self["matchLabels"].strings
        return wanted.allSatisfy { labels[$0] == $1 }
    }
}
