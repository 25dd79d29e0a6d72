// SPDX-License-Identifier: Apache-2.0

import Glibc
public import MusterExecution
import MusterLock
public import MusterMetrics
import MusterPlatform

/// One thing that every engine has to do right, as a check that says what an engine did wrong.
///
/// Muster's own engines pass the same checks. In a test of an engine of your own:
///
/// ```swift
/// @Test(arguments: EngineConformance.checks())
/// func `the engine conforms`(check: EngineConformance) async throws {
///     try await check.run { metrics in try MailEngine(metrics: metrics) }
/// }
/// ```
public struct EngineConformance: Sendable, CustomStringConvertible {
    /// What the engine has to do.
    public let description: String

    private let body: @Sendable (Subject) async throws -> Void

    init(_ description: String, _ body: @escaping @Sendable (Subject) async throws -> Void) {
        self.description = description
        self.body = body
    }

    /// All checks.
    ///
    /// - Parameter pinsJobs: Whether the engine promises that a job is back on its thread after each `await`.
    public static func checks(pinsJobs: Bool = true) -> [EngineConformance] {
        jobChecks + shutdownChecks + sleepChecks + blockingChecks + descriptorChecks + (pinsJobs ? threadChecks : [])
    }

    /// Checks a new engine, and shuts it down.
    ///
    /// - Parameters:
    ///   - limit: How long that may take, on a machine that may be busy.
    ///   - make: Makes an engine that keeps its metrics in the registry it is given.
    /// - Throws: ``Fault``, which says what the engine did wrong; what making the engine throws.
    public func run(
        within limit: Duration = .seconds(60),
        _ make: @escaping @Sendable (MetricRegistry) throws -> any ExecutionEngine
    ) async throws {
        let over = Completion<Result<Void, any Error>>()
        // Not awaited as a child: an engine that never runs a job must not hang the test.
        let task = Task.detached { [self] in
            let result: Result<Void, any Error>
            do {
                let registry = try MetricRegistry.forTesting()
                let engine = try make(registry)
                defer { Task { try? await engine.shutDown() } }
                result = .success(try await body(Subject(engine: engine, metrics: registry, make: make)))
            } catch {
                result = .failure(error)
            }
            over.complete(with: result)
        }
        do {
            try await over.wait(until: .now.advanced(by: limit), operation: description).get()
        } catch is TimeLimitExceeded {
            task.cancel()
            throw Fault(check: description, fault: "something was not over after \(limit)")
        } catch let fault as Unmet {
            throw Fault(check: description, fault: fault.text)
        }
    }

    /// What an engine did wrong.
    public struct Fault: Error, Hashable, Sendable, CustomStringConvertible {
        package let check: String
        package let fault: String

        /// The check, and what was wrong.
        public var description: String { "the engine does not conform: \(check): \(fault)" }
    }
}

/// What a check looks at.
struct Subject: Sendable {
    let engine: any ExecutionEngine
    let metrics: MetricRegistry
    let make: @Sendable (MetricRegistry) throws -> any ExecutionEngine

    /// The value of one of the engine's series.
    func value(_ name: String, state: String? = nil) -> Double? {
        var labels = ["backend": engine.name]
        labels["state"] = state
        return metrics.value(name, labels).number
    }

    /// Runs a job and waits for it; its error is the caller's.
    @discardableResult
    func run<Value: Sendable>(
        _ name: String = "job", _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await engine.spawn(name: name, body).result()
    }
}

struct Unmet: Error {
    let text: String
}

/// - Parameter fault: What the engine did wrong if the condition is false.
func expect(_ condition: Bool, _ fault: @autoclosure () -> String) throws {
    if !condition { throw Unmet(text: fault()) }
}

/// - Parameter fault: What the engine did wrong if the body does not throw such an error.
func expect<Failure: Error, Value: Sendable>(
    _ type: Failure.Type, _ fault: String, _ body: () async throws -> Value
) async throws {
    do {
        _ = try await body()
    } catch is Failure {
        return
    } catch {
        throw Unmet(text: "\(fault), but \(error)")
    }
    throw Unmet(text: fault)
}

/// The state of something that changes without an event.
func settle(_ fault: @autoclosure () -> String, _ condition: () -> Bool) async throws {
    let clock = SystemClock()
    let deadline = clock.now.advanced(by: .seconds(20))
    while !condition() {
        try expect(clock.now < deadline, fault())
        try await clock.sleep(for: .microseconds(200))
    }
}

/// An event that happens once it was reported so many times.
final class Countdown: Sendable {
    private let remaining: Locked<Int>
    private let over = Completion<Void>()

    init(_ count: Int = 1) {
        remaining = Locked(count)
    }

    func report() {
        let isOver = remaining.withLock { remaining in
            remaining -= 1
            return remaining == 0
        }
        if isOver { over.complete(with: ()) }
    }

    func wait() async throws { try await over.wait() }
}

/// Holds up threads, until it is opened.
final class ThreadGate: Sendable {
    private let near: OwnedDescriptor
    private let far: OwnedDescriptor

    init() throws {
        (near, far) = try connectedSockets(blocking: true)
    }

    func pass() {
        var byte: UInt8 = 0
        while read(near.rawValue, &byte, 1) < 0, errno == EINTR {}
    }

    func open() { shutdown(far.rawValue, Int32(SHUT_WR)) }
}

func connectedSockets(blocking: Bool) throws -> (OwnedDescriptor, OwnedDescriptor) {
    var pair: [Int32] = [-1, -1]
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, blocking ? kind : kind | Int32(SOCK_NONBLOCK.rawValue), 0, &pair) == 0 else {
        throw SystemError("socketpair")
    }
    return (OwnedDescriptor(pair[0]), OwnedDescriptor(pair[1]))
}
