// SPDX-License-Identifier: Apache-2.0

extension ComponentRegistry {
    private static let standardComponents: [any BackendComponent.Type] = [
        ThreadGroup.self, Job.self,
        FixedIntervalLoopingCall.self, FixedIntervalWithTimeoutLoopingCall.self, DynamicLoopingCall.self,
        BackOffLoopingCall.self, RetryDecorator.self, LoopingCallDone.self, LoopingCallTimeOut.self,
        Service.self, Services.self, Launcher.self, ServiceLauncher.self, ProcessLauncher.self,
        SignalHandler.self,
    ]

    /// Muster's own components; both backends have all of them.
    static func standard(backend: BackendType) -> ComponentRegistry {
        ComponentRegistry(
            backend: backend,
            components: Dictionary(
                standardComponents.map { ($0.componentName, $0) }, uniquingKeysWith: { first, _ in first }))
    }

    /// The backends of Muster's own that have a component of a name.
    ///
    /// - Parameter name: The component's name.
    /// - Returns: Both or none.
    public static func standardHolders(of name: String) -> [BackendType] {
        standardComponents.contains { $0.componentName == name } ? [.cooperative, .threading] : []
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

extension ComponentKey where Component == Service {
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
