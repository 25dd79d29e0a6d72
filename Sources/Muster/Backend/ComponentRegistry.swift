// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterPlatform

/// A backend's components by name.
public struct ComponentRegistry: Sendable {
    /// The backend that the components belong to.
    package let backend: BackendType
    /// `nil` for Muster's own, which are found by their types' names at the first look-up: asking for these takes longer
    /// than the rest of a worker's start.
    private let ownComponents: [String: any BackendComponent.Type]?

    private var components: [String: any BackendComponent.Type] { ownComponents ?? Self.standardByName }

    /// Creates a registry.
    ///
    /// - Parameters:
    ///   - backend: The backend that the components belong to.
    ///   - components: The components by name; one that is `nil` counts as missing.
    public init(backend: BackendType, components: [String: (any BackendComponent.Type)?]) {
        self.backend = backend
        ownComponents = components.compactMapValues { $0 }
    }

    private init(standardOf backend: BackendType) {
        self.backend = backend
        ownComponents = nil
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
    package func contains(_ name: String) -> Bool {
        components[name] != nil
    }

    /// The names of all components, sorted.
    public var names: [String] { components.keys.sorted() }

    private func missing(_ name: String) -> BackendComponentNotAvailable {
        let known = Self.known.withLock { $0 }
        let holders = known.filter { $0.value.contains(name) }.map(\.key)
        let others = BackendSelector.shared.ownTypes.filter { known[$0] == nil }
        return BackendComponentNotAvailable(
            component: name, backend: backend,
            availableIn: (Self.standardHolders(of: name) + holders.filter { $0 != backend }).sorted {
                $0.rawValue < $1.rawValue
            }, unknownIn: others)
    }

    /// What the backends of the application's own have, as far as they were set up.
    private static let known = Locked<[BackendType: Set<String>]>([:])

    /// Remembers what a backend of the application's own has, for errors.
    static func record(_ registry: ComponentRegistry) {
        known.withLock { $0[registry.backend] = Set(registry.names) }
    }
}

extension ComponentRegistry {
    private static let standardComponents: [any BackendComponent.Type] = [
        ThreadGroup.self, Job.self,
        FixedIntervalLoopingCall.self, FixedIntervalWithTimeoutLoopingCall.self, DynamicLoopingCall.self,
        BackOffLoopingCall.self, RetryDecorator.self, LoopingCallDone.self, LoopingCallTimeOut.self,
        ThreadGroupService.self, Services.self, Launcher.self, ServiceLauncher.self, ProcessLauncher.self,
        SignalHandler.self, HTTPServer.self, DiagnosticsConsole.self,
    ]

    /// What a service author writes instead of the upstream components that are not types of their own here.
    static let replacements = [
        "ServiceBase": "conform to the protocol ServiceBase",
        "ServiceWrapper": "not needed: a worker runs the service itself",
        "SignalExit": "use ExitStatus, which wait() returns",
        "Singleton": "not needed: there may be several launchers and signal handlers",
        "LoopingCallBase": "use its subclasses, or LoopingCall as the type of any",
        "eventlet_backdoor": "use DiagnosticsConsole, by the setting muster.console",
        "launch": "call the function launch(_:workers:restartMethod:settings:)",
        "_is_daemon": "not needed: launchers tell themselves whether SIGHUP reloads or ends",
        "_is_sighup_and_daemon": "not needed: launchers tell themselves whether SIGHUP reloads or ends",
    ]

    /// Muster's own components; both backends have all of them.
    static func standard(backend: BackendType) -> ComponentRegistry { ComponentRegistry(standardOf: backend) }

    private static let standardByName = Dictionary(
        standardComponents.map { ($0.componentName, $0) }, uniquingKeysWith: { first, _ in first })

    /// The backends of Muster's own that have a component of a name.
    package static func standardHolders(of name: String) -> [BackendType] {
        standardByName[name] != nil ? [.cooperative, .threading] : []
    }
}

extension ComponentKey where Component == ThreadGroup {
    /// Threads and timers that belong together.
    public static var threadGroup: Self { Self(Component.self) }
}

extension ComponentKey where Component == Job {
    /// One thread of a group (upstream: `Thread`).
    public static var thread: Self { Self(Component.self) }
}

extension ComponentKey where Component == FixedIntervalLoopingCall {
    /// A call repeated on a fixed grid.
    public static var fixedIntervalLoopingCall: Self { Self(Component.self) }
}

extension ComponentKey where Component == FixedIntervalWithTimeoutLoopingCall {
    /// A call repeated on a fixed grid, for a limited time.
    public static var fixedIntervalWithTimeoutLoopingCall: Self { Self(Component.self) }
}

extension ComponentKey where Component == DynamicLoopingCall {
    /// A call that says itself when it wants to be repeated.
    public static var dynamicLoopingCall: Self { Self(Component.self) }
}

extension ComponentKey where Component == BackOffLoopingCall {
    /// A call repeated less and less often while it fails.
    public static var backOffLoopingCall: Self { Self(Component.self) }
}

extension ComponentKey where Component == RetryDecorator {
    /// A call tried again while it fails.
    public static var retryDecorator: Self { Self(Component.self) }
}

extension ComponentKey where Component == ThreadGroupService {
    /// A ready-made service with a thread group.
    public static var service: Self { Self(Component.self) }
}

extension ComponentKey where Component == Services {
    /// Services that start and stop together.
    public static var services: Self { Self(Component.self) }
}

extension ComponentKey where Component == Launcher {
    /// Runs services in this process, and nothing else.
    public static var launcher: Self { Self(Component.self) }
}

extension ComponentKey where Component == ServiceLauncher {
    /// Runs services in this process, with signals, endpoint and exit status.
    public static var serviceLauncher: Self { Self(Component.self) }
}

extension ComponentKey where Component == ProcessLauncher {
    /// Runs services in supervised worker processes.
    public static var processLauncher: Self { Self(Component.self) }
}

extension ComponentKey where Component == SignalHandler {
    /// Handlers of signals, run as jobs.
    public static var signalHandler: Self { Self(Component.self) }
}

extension ComponentKey where Component == HTTPServer {
    /// Answers HTTP requests (upstream: `wsgi.Server`).
    public static var httpServer: Self { Self(Component.self) }
}

extension ComponentKey where Component == DiagnosticsConsole {
    /// Shows and controls a running program (upstream: `eventlet_backdoor`).
    public static var diagnosticsConsole: Self { Self(Component.self) }
}

/// Names a component together with its type, so that a look-up needs no cast.
public struct ComponentKey<Component: BackendComponent>: Hashable, Sendable {
    /// The component's name.
    package let name: String

    /// Creates a key for a component, under the name that its type gives.
    public init(_ component: Component.Type) {
        name = component.componentName
    }
}

/// A type that a backend offers under a name.
public protocol BackendComponent: SendableMetatype {
    /// The name, as upstream spells it.
    static var componentName: String { get }
}

extension BackendComponent {
    /// The type's own name.
    public static var componentName: String { String(describing: Self.self) }
}

/// A component that the backend does not have.
public struct BackendComponentNotAvailable: Error, Hashable, Sendable, CustomStringConvertible {
    /// The component's name.
    package let component: String
    /// The backend that was asked.
    package let backend: BackendType
    /// The backends that have it, sorted by name.
    package let availableIn: [BackendType]
    /// Registered backends that may have it: they were never set up.
    package let unknownIn: [BackendType]

    /// Names all three; for an upstream component without a type here, what to use instead.
    public var description: String {
        func list(_ types: [BackendType]) -> String { types.map { "'\($0)'" }.joined(separator: ", ") }
        var elsewhere: [String] = []
        if let replacement = ComponentRegistry.replacements[component] { elsewhere.append(replacement) }
        if !availableIn.isEmpty { elsewhere.append("it is available in: " + list(availableIn)) }
        if elsewhere.isEmpty, !unknownIn.isEmpty {
            elsewhere.append("registered backends that may have it, but were not set up yet: " + list(unknownIn))
        }
        if elsewhere.isEmpty { elsewhere.append("no registered backend has it") }
        return "Component '\(component)' is not available in backend '\(backend)'; "
            + elsewhere.joined(separator: "; ")
    }
}
