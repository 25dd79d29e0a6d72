// SPDX-License-Identifier: Apache-2.0

// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import MusterExecution
public import MusterPlatform

// Upstream's labels and names where Muster's differ: a port that keeps them is told what to write. None of this can be
// called.

private func neverCalled() -> Never {
    preconditionFailure("an unavailable function was called")
}

extension LoopingCallDone {
    @available(*, unavailable, renamed: "init(_:)")
    public init(retvalue: any Sendable) { neverCalled() }
}

extension FixedIntervalLoopingCall {
    @available(
        *, unavailable,
        message: "Give the loop a name, the label of its metrics: FixedIntervalLoopingCall(name:) { … }"
    )
    public convenience init(_ function: @escaping @Sendable () async throws -> Void) { neverCalled() }

    @available(
        *, unavailable,
        message:
            "Write start(interval:initialDelay:stopsOnError:). Durations are not numbers: write .seconds(1) or .milliseconds(500)"
    )
    public func start<Seconds: Numeric>(interval: Seconds, initialDelay: Seconds? = nil, stopOnException: Bool = true)
        throws
    { neverCalled() }

    @available(*, unavailable, renamed: "start(interval:initialDelay:stopsOnError:)")
    public func start(interval: Duration, initialDelay: Duration = .zero, stopOnException: Bool) throws {
        neverCalled()
    }
}

extension FixedIntervalWithTimeoutLoopingCall {
    @available(
        *, unavailable,
        message: "Give the loop a name, the label of its metrics: FixedIntervalWithTimeoutLoopingCall(name:) { … }"
    )
    public convenience init(_ function: @escaping @Sendable () async throws -> Void) { neverCalled() }

    @available(
        *, unavailable,
        message:
            "Write start(interval:initialDelay:stopsOnError:timeout:). Durations are not numbers: write .seconds(1) or .milliseconds(500)"
    )
    public func start<Seconds: Numeric>(
        interval: Seconds, initialDelay: Seconds? = nil, stopOnException: Bool = true, timeout: Seconds? = nil
    ) throws { neverCalled() }

    @available(*, unavailable, renamed: "start(interval:initialDelay:stopsOnError:timeout:)")
    public func start(
        interval: Duration, initialDelay: Duration = .zero, stopOnException: Bool, timeout: Duration = .zero
    ) throws { neverCalled() }
}

extension DynamicLoopingCall {
    @available(
        *, unavailable,
        message: "Give the loop a name, the label of its metrics: DynamicLoopingCall(name:) { … }"
    )
    public convenience init(_ function: @escaping @Sendable () async throws -> Duration?) { neverCalled() }

    @available(
        *, unavailable,
        message:
            "Write start(initialDelay:maximumInterval:stopsOnError:). Durations are not numbers: write .seconds(1) or .milliseconds(500)"
    )
    public func start<Seconds: Numeric>(
        initialDelay: Seconds? = nil, periodicIntervalMax: Seconds? = nil, stopOnException: Bool = true
    ) throws { neverCalled() }

    @available(*, unavailable, renamed: "start(initialDelay:maximumInterval:stopsOnError:)")
    public func start(initialDelay: Duration = .zero, periodicIntervalMax: Duration, stopOnException: Bool = true)
        throws
    { neverCalled() }

    @available(*, unavailable, renamed: "start(initialDelay:maximumInterval:stopsOnError:)")
    public func start(initialDelay: Duration = .zero, stopOnException: Bool) throws { neverCalled() }
}

extension BackOffLoopingCall {
    @available(
        *, unavailable,
        message: "Give the loop a name, the label of its metrics: BackOffLoopingCall(name:) { … }"
    )
    public convenience init(_ function: @escaping @Sendable () async throws -> Bool) { neverCalled() }

    @available(
        *, unavailable,
        message:
            "Write start(.init(initialDelay:startingInterval:timeout:maximumInterval:jitter:minimumInterval:)). Durations are not numbers: write .seconds(1) or .milliseconds(500)"
    )
    public func start<Seconds: Numeric>(
        initialDelay: Seconds? = nil, startingInterval: Seconds? = nil, timeout: Seconds? = nil,
        maxInterval: Seconds? = nil, jitter: Double? = nil, minInterval: Seconds? = nil
    ) throws { neverCalled() }

    @available(
        *, unavailable,
        message: "Write start(.init(initialDelay:startingInterval:timeout:maximumInterval:jitter:minimumInterval:))"
    )
    public func start(
        initialDelay: Duration? = nil, startingInterval: Duration? = nil, timeout: Duration? = nil,
        maxInterval: Duration? = nil, jitter: Double? = nil, minInterval: Duration? = nil
    ) throws { neverCalled() }

    @available(
        *, unavailable,
        message: "Write start(.init(initialDelay:startingInterval:timeout:maximumInterval:jitter:minimumInterval:))"
    )
    public func start(
        initialDelay: Duration? = nil, startingInterval: Duration? = nil, timeout: Duration? = nil,
        maximumInterval: Duration, jitter: Double? = nil, minimumInterval: Duration? = nil
    ) throws { neverCalled() }
}

extension RetryDecorator {
    @available(
        *, unavailable,
        message:
            "Write RetryDecorator(maximumRetries:delayIncrement:maximumDelay:) { error in … }, which says what may be tried again. Durations are not numbers: write .seconds(1) or .milliseconds(500)"
    )
    public init<Seconds: Numeric>(
        maxRetryCount: Int = -1, incSleepTime: Seconds? = nil, maxSleepTime: Seconds? = nil,
        exceptions: [any Error.Type] = []
    ) { neverCalled() }

    @available(
        *, unavailable,
        message:
            "Write RetryDecorator(maximumRetries:delayIncrement:maximumDelay:) { error in … }, which says what may be tried again"
    )
    public init(
        maxRetryCount: Int = -1, incSleepTime: Duration = .zero, maxSleepTime: Duration = .zero,
        exceptions: [any Error.Type]
    ) { neverCalled() }

    @available(*, unavailable, renamed: "init(maximumRetries:delayIncrement:maximumDelay:clock:logger:isRetryable:)")
    public init(
        maxRetryCount: Int = -1, incSleepTime: Duration = .zero, maxSleepTime: Duration = .zero,
        isRetryable: @escaping @Sendable (any Error) -> Bool
    ) { neverCalled() }
}

extension ThreadGroup {
    @available(*, unavailable, message: "Give the group a name, the label of its metrics: ThreadGroup(name:capacity:)")
    public convenience init() { neverCalled() }

    @available(*, unavailable, message: "Write ThreadGroup(name:capacity:)")
    public convenience init(name: String? = nil, threadPoolSize: Int) { neverCalled() }

    @available(*, unavailable, message: "Write ThreadGroup(name:capacity:)")
    public convenience init(name: String? = nil, maxThreads: Int) { neverCalled() }

    @available(*, unavailable, message: "Give the thread a name: addThread(name:) { … }")
    public func addThread(_ callback: @escaping @Sendable () async throws -> Void) async throws { neverCalled() }

    @available(
        *, unavailable,
        message:
            "Write addTimer(name:interval:initialDelay:stopsOnError:) { … }. Durations are not numbers: write .seconds(1) or .milliseconds(500)"
    )
    public func addTimer<Seconds: Numeric>(
        _ interval: Seconds, initialDelay: Seconds? = nil, stopOnException: Bool = true,
        _ callback: @escaping @Sendable () async throws -> Void
    ) throws { neverCalled() }

    @available(
        *, unavailable,
        message:
            "Write addTimer(name:interval:initialDelay:stopsOnError:) { … }. Durations are not numbers: write .seconds(1) or .milliseconds(500)"
    )
    public func addTimer<Seconds: Numeric>(
        name: String? = nil, interval: Seconds, initialDelay: Seconds? = nil, stopOnException: Bool = true,
        _ callback: @escaping @Sendable () async throws -> Void
    ) throws { neverCalled() }

    @available(*, unavailable, message: "Write addTimer(name:interval:initialDelay:stopsOnError:) { … }")
    public func addTimer(
        _ interval: Duration, initialDelay: Duration = .zero, stopOnException: Bool = true,
        _ callback: @escaping @Sendable () async throws -> Void
    ) throws { neverCalled() }

    @available(*, unavailable, message: "Write addTimer(name:interval:initialDelay:stopsOnError:) { … }")
    public func addTimer(
        interval: Duration, initialDelay: Duration = .zero, stopsOnError: Bool = true,
        _ callback: @escaping @Sendable () async throws -> Void
    ) throws { neverCalled() }

    @available(*, unavailable, message: "Write addTimer(name:interval:initialDelay:stopsOnError:) { … }")
    public func addTimer(
        name: String? = nil, interval: Duration, initialDelay: Duration = .zero, stopOnException: Bool,
        _ callback: @escaping @Sendable () async throws -> Void
    ) throws { neverCalled() }

    @available(
        *, unavailable,
        message:
            "Write addTimer(name:interval:initialDelay:stopsOnError:) { … }. Durations are not numbers: write .seconds(1) or .milliseconds(500)"
    )
    public func addTimerArgs<Seconds: Numeric>(
        _ interval: Seconds, initialDelay: Seconds? = nil, stopOnException: Bool = true,
        _ callback: @escaping @Sendable () async throws -> Void
    ) throws { neverCalled() }

    @available(*, unavailable, message: "Write addTimer(name:interval:initialDelay:stopsOnError:) { … }")
    public func addTimerArgs(
        _ interval: Duration, initialDelay: Duration = .zero, stopOnException: Bool = true,
        _ callback: @escaping @Sendable () async throws -> Void
    ) throws { neverCalled() }

    @available(
        *, unavailable,
        message:
            "Write addDynamicTimer(name:initialDelay:maximumInterval:stopsOnError:) { … }. Durations are not numbers: write .seconds(1) or .milliseconds(500)"
    )
    public func addDynamicTimer<Seconds: Numeric>(
        name: String? = nil, initialDelay: Seconds? = nil, periodicIntervalMax: Seconds, stopOnException: Bool = true,
        _ callback: @escaping @Sendable () async throws -> Duration?
    ) throws { neverCalled() }

    @available(*, unavailable, message: "Write addDynamicTimer(name:initialDelay:maximumInterval:stopsOnError:) { … }")
    public func addDynamicTimer(
        name: String? = nil, initialDelay: Duration = .zero, periodicIntervalMax: Duration,
        stopOnException: Bool = true, _ callback: @escaping @Sendable () async throws -> Duration?
    ) throws { neverCalled() }

    @available(*, unavailable, message: "Write addDynamicTimer(name:initialDelay:maximumInterval:stopsOnError:) { … }")
    public func addDynamicTimer(
        initialDelay: Duration = .zero, maximumInterval: Duration? = nil, stopsOnError: Bool = true,
        _ callback: @escaping @Sendable () async throws -> Duration?
    ) throws { neverCalled() }

    @available(*, unavailable, message: "Write addDynamicTimer(name:initialDelay:maximumInterval:stopsOnError:) { … }")
    public func addDynamicTimer(
        name: String? = nil, initialDelay: Duration = .zero, maximumInterval: Duration? = nil, stopOnException: Bool,
        _ callback: @escaping @Sendable () async throws -> Duration?
    ) throws { neverCalled() }

    @available(*, unavailable, message: "Write addDynamicTimer(name:initialDelay:maximumInterval:stopsOnError:) { … }")
    public func addDynamicTimerArgs(
        initialDelay: Duration = .zero, periodicIntervalMax: Duration? = nil, stopOnException: Bool = true,
        _ callback: @escaping @Sendable () async throws -> Duration?
    ) throws { neverCalled() }

    @available(
        *, unavailable,
        message:
            "Write addDynamicTimer(name:initialDelay:maximumInterval:stopsOnError:) { … }. Durations are not numbers: write .seconds(1) or .milliseconds(500)"
    )
    public func addDynamicTimerArgs<Seconds: Numeric>(
        initialDelay: Seconds? = nil, periodicIntervalMax: Seconds, stopOnException: Bool = true,
        _ callback: @escaping @Sendable () async throws -> Duration?
    ) throws { neverCalled() }

    @available(*, unavailable, renamed: "removeTimer(_:)")
    public func timerDone(_ timer: LoopingCall) { neverCalled() }

    @available(*, unavailable, renamed: "stop(graceful:until:)")
    public func stop(_ graceful: Bool) async throws { neverCalled() }

    @available(*, unavailable, renamed: "stopTimers(wait:until:)")
    public func stopTimers(_ wait: Bool) async throws { neverCalled() }

    @available(*, unavailable, renamed: "wait(until:)")
    public func waitall() async throws { neverCalled() }

    @available(*, unavailable, message: "Write cancel(until: .now.advanced(by: .seconds(30)))")
    public func cancel<Seconds: Numeric>(timeout: Seconds, waitTime: Seconds? = nil) async throws { neverCalled() }

    @available(*, unavailable, message: "Write cancel(until: .now.advanced(by: .seconds(30)))")
    public func cancel(timeout: Duration) async throws { neverCalled() }
}

extension Job {
    @available(*, unavailable, renamed: "cancel()")
    public func stop() { neverCalled() }

    @available(*, unavailable, renamed: "id")
    public var ident: UInt64 { neverCalled() }
}

extension BackendType {
    @available(*, unavailable, renamed: "cooperative")
    public static var eventlet: BackendType { neverCalled() }
}

extension ServiceBase {
    @available(*, unavailable, renamed: "threadGroup")
    public var tg: ThreadGroup { neverCalled() }
}

extension SignalHandler {
    @available(*, unavailable, message: "Write addHandler(for: .hangUp) { signal in … }")
    public func addHandler(_ name: String, _ handler: @escaping @Sendable (UnixSignal) async -> Void) throws {
        neverCalled()
    }

    @available(*, unavailable, message: "Write addHandlers(for: [.terminate, .interrupt]) { signal in … }")
    public func addHandlers(_ names: [String], _ handler: @escaping @Sendable (UnixSignal) async -> Void) throws {
        neverCalled()
    }

    @available(*, unavailable, renamed: "ignore(_:)")
    public func ignoreHandler(_ name: String) throws { neverCalled() }
}

extension ProcessLauncher {
    @available(
        *, unavailable,
        message: "Nothing is forked: use ServiceLauncher(name:), or launch(_:workers:) with one worker"
    )
    public convenience init(settings: MusterSettings = MusterSettings(), noFork: Bool) throws { neverCalled() }
}

@available(*, unavailable, renamed: "Backend.initialize(_:)")
public func initBackend(_ type: BackendType) throws { neverCalled() }

@available(*, unavailable, message: "Write try Backend.current")
public func getBackend() throws -> Backend { neverCalled() }

@available(*, unavailable, message: "Write Backend.selection?.type")
public func getBackendType() -> BackendType? { neverCalled() }

@available(*, unavailable, renamed: "Backend.component(named:)")
public func getComponent(_ name: String) throws -> any BackendComponent.Type { neverCalled() }

@available(*, unavailable, renamed: "Backend.registerDefaultHook(_:)")
public func registerBackendDefaultHook(_ hook: @escaping @Sendable () throws -> BackendType) { neverCalled() }

@available(*, unavailable, message: "Settings are not a global: write launch(_:workers:restartMethod:settings:)")
public func launch<Configuration>(_ configuration: Configuration, _ service: any ServiceBase, workers: Int = 1) throws
    -> any MainLauncher
{ neverCalled() }

@available(*, unavailable, renamed: "LoopingCall")
public typealias LoopingCallBase = LoopingCall

@available(*, unavailable, renamed: "ExitStatus")
public typealias SignalExit = ExitStatus
