// SPDX-License-Identifier: Apache-2.0

// The selection of the process' backend, as most programs use it: ``BackendSelector/shared`` by a shorter name.
extension Backend {
    /// Selects a backend. Selecting the same one again changes nothing.
    ///
    /// Upstream: `init_backend`.
    ///
    /// - Parameter type: The backend.
    /// - Throws: ``BackendAlreadySelected`` when another one is selected; ``BackendError`` when there is no such
    ///   backend or it cannot be set up.
    public static func initialize(_ type: BackendType) throws {
        try BackendSelector.shared.initialize(type)
    }

    /// Registers what decides on the backend when it is needed and nobody has selected one. The last hook counts;
    /// after the selection it has no effect.
    ///
    /// Upstream: `register_backend_default_hook`.
    ///
    /// - Parameter hook: Returns the backend to take. When it throws, or names a backend that is not registered, the
    ///   error is logged and the default taken.
    public static func registerDefaultHook(_ hook: @escaping @Sendable () throws -> BackendType) {
        BackendSelector.shared.registerDefaultHook(hook)
    }

    /// Registers a backend of the application's own.
    ///
    /// - Parameters:
    ///   - type: Its name.
    ///   - make: Sets it up when it is selected.
    /// - Throws: ``BackendError/nameTaken(_:)``.
    public static func register(
        _ type: BackendType, _ make: @escaping @Sendable (BackendContext) throws -> Backend
    ) throws(BackendError) {
        try BackendSelector.shared.register(type, make)
    }

    /// The selected backend; selects one first when none is.
    ///
    /// Upstream: `get_backend`.
    ///
    /// - Throws: ``BackendError`` when none can be selected.
    public static var current: Backend {
        get throws { try BackendSelector.shared.backend() }
    }

    /// What is selected and why; `nil` when nothing is. Asking selects nothing.
    ///
    /// Upstream: `get_backend_type`.
    public static var selection: BackendSelection? {
        BackendSelector.shared.selection
    }

    /// A component of the selected backend; selects one first when none is.
    ///
    /// Upstream: `get_component`.
    ///
    /// - Parameter key: The component's key, for example `.threadGroup`.
    /// - Returns: The component's type.
    /// - Throws: ``BackendComponentNotAvailable``; ``BackendError`` when no backend can be selected.
    public static func component<Component>(_ key: ComponentKey<Component>) throws -> Component.Type {
        try current.components[key]
    }

    /// A component of the selected backend by its name; selects a backend first when none is.
    ///
    /// - Parameter name: The component's name, for example `ThreadGroup`.
    /// - Returns: The component's type.
    /// - Throws: ``BackendComponentNotAvailable``; ``BackendError`` when no backend can be selected.
    public static func component(named name: String) throws -> any BackendComponent.Type {
        try current.components[name]
    }
}
