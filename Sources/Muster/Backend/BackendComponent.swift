// SPDX-License-Identifier: Apache-2.0

/// A type that a backend offers under a name.
public protocol BackendComponent: SendableMetatype {
    /// The name, as upstream spells it.
    static var componentName: String { get }
}
