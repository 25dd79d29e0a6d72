// SPDX-License-Identifier: Apache-2.0

/// A backend's components by name.
///
/// Upstream: `oslo_service.backend.base.ComponentRegistry`.
public struct ComponentRegistry: Sendable {
    /// The backend that the components belong to.
    public let backend: BackendType
    private let components: [String: any BackendComponent.Type]
    private let holders: @Sendable (String) -> [BackendType]

    /// Creates a registry.
    ///
    /// - Parameters:
    ///   - backend: The backend that the components belong to.
    ///   - components: The components by name; one that is `nil` counts as missing.
    ///   - holders: The backends that have a component of a name, for the error's text; Muster's own unless given.
    public init(
        backend: BackendType, components: [String: (any BackendComponent.Type)?],
        holders: @escaping @Sendable (String) -> [BackendType] = standardHolders
    ) {
        self.backend = backend
        self.components = components.compactMapValues { $0 }
        self.holders = holders
    }

    /// The component of a name.
    ///
    /// - Parameter name: The name, for example `ThreadGroup`.
    /// - Throws: ``BackendComponentNotAvailable``.
    public subscript(name: String) -> any BackendComponent.Type {
        get throws(BackendComponentNotAvailable) {
            guard let component = components[name] else { throw missing(name) }
            return component
        }
    }

    /// The component of a typed key.
    ///
    /// - Parameter key: The key, for example `.threadGroup`.
    /// - Throws: ``BackendComponentNotAvailable``, also when the backend has another type under that name.
    public subscript<Component>(key: ComponentKey<Component>) -> Component.Type {
        get throws(BackendComponentNotAvailable) {
            guard let component = components[key.name] as? Component.Type else { throw missing(key.name) }
            return component
        }
    }

    /// Whether a component is there.
    ///
    /// - Parameter name: The component's name.
    public func contains(_ name: String) -> Bool {
        components[name] != nil
    }

    /// The names of all components, sorted.
    public var names: [String] { components.keys.sorted() }

    private func missing(_ name: String) -> BackendComponentNotAvailable {
        BackendComponentNotAvailable(component: name, backend: backend, availableIn: holders(name))
    }
}
