// SPDX-License-Identifier: Apache-2.0

/// Names a component together with its type, so that a look-up needs no cast.
public struct ComponentKey<Component: BackendComponent>: Hashable, Sendable {
    /// The component's name.
    public let name: String

    /// Creates a key for a component, under the name that its type gives.
    ///
    /// - Parameter component: The component's type.
    public init(_ component: Component.Type) {
        name = component.componentName
    }
}
