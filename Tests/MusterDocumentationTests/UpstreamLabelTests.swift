// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

/// Type-checks calls as a port writes them first, with upstream's labels: the compiler has to say what to write.
@Suite("Upstream's labels", .timeLimit(.minutes(5)))
struct UpstreamLabelTests {
    private static let products = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()

    private static var canCompile: Bool {
        find("swiftc") != nil
            && FileManager.default.fileExists(
                atPath: products.appendingPathComponent("Modules/Muster.swiftmodule").path)
    }

    /// Each call, and a word of the hint.
    private static let calls: [(call: String, hint: String)] = [
        ("_ = LoopingCallDone(retvalue: 1)", "init(_:)"),
        ("_ = FixedIntervalLoopingCall { }", "FixedIntervalLoopingCall(name:)"),
        ("_ = DynamicLoopingCall { nil }", "DynamicLoopingCall(name:)"),
        ("_ = BackOffLoopingCall { true }", "BackOffLoopingCall(name:)"),
        ("_ = FixedIntervalWithTimeoutLoopingCall { }", "FixedIntervalWithTimeoutLoopingCall(name:)"),
        ("try fixed.start(interval: 1.0)", ".seconds(1)"),
        ("try fixed.start(interval: number, initialDelay: 2)", ".seconds(1)"),
        ("try fixed.start(interval: .seconds(1), stopOnException: false)", "stopsOnError:"),
        ("try limited.start(interval: 1, timeout: 5)", ".seconds(1)"),
        ("try limited.start(interval: .seconds(1), stopOnException: true, timeout: .seconds(5))", "stopsOnError:"),
        ("try dynamic.start(periodicIntervalMax: 60)", ".seconds(1)"),
        ("try dynamic.start(periodicIntervalMax: .seconds(60))", "maximumInterval:"),
        ("try dynamic.start(stopOnException: false)", "stopsOnError:"),
        ("try backOff.start(timeout: 60)", ".init(initialDelay:"),
        ("try backOff.start(startingInterval: 0.5, maxInterval: 10, jitter: 0.5)", ".init(initialDelay:"),
        ("try backOff.start(timeout: .seconds(60))", ".init(initialDelay:"),
        ("try backOff.start(timeout: .seconds(60), maxInterval: .seconds(5))", ".init(initialDelay:"),
        ("try backOff.start(timeout: .seconds(60), maximumInterval: .seconds(5))", ".init(initialDelay:"),
        ("_ = RetryDecorator(maxRetryCount: 3, incSleepTime: 10, maxSleepTime: 60)", "maximumRetries:"),
        ("_ = RetryDecorator(maxRetryCount: -1, exceptions: [CancellationError.self])", "maximumRetries:"),
        ("_ = RetryDecorator(maxRetryCount: 3, isRetryable: { _ in true })", "maximumRetries:"),
        ("_ = ThreadGroup()", "ThreadGroup(name:capacity:)"),
        ("_ = ThreadGroup(threadPoolSize: 10)", "ThreadGroup(name:capacity:)"),
        ("_ = ThreadGroup(name: \"a\", maxThreads: 10)", "ThreadGroup(name:capacity:)"),
        ("try await group.addThread { }", "addThread(name:)"),
        ("try group.addTimer(1.0) { }", "addTimer(name:interval:"),
        ("try group.addTimer(number) { }", "addTimer(name:interval:"),
        ("try group.addTimer(name: \"a\", interval: 1.0) { }", ".seconds(1)"),
        ("try group.addTimer(.seconds(1)) { }", "addTimer(name:interval:"),
        ("try group.addTimer(interval: .seconds(1)) { }", "addTimer(name:interval:"),
        ("try group.addTimer(name: \"a\", interval: .seconds(1), stopOnException: false) { }", "stopsOnError:"),
        ("try group.addTimerArgs(1) { }", "addTimer(name:interval:"),
        ("try group.addDynamicTimer(periodicIntervalMax: 60) { nil }", "addDynamicTimer(name:"),
        ("try group.addDynamicTimer(periodicIntervalMax: .seconds(60)) { nil }", "addDynamicTimer(name:"),
        ("try group.addDynamicTimer { nil }", "addDynamicTimer(name:"),
        ("try group.addDynamicTimerArgs(periodicIntervalMax: .seconds(60)) { nil }", "addDynamicTimer(name:"),
        ("group.timerDone(fixed)", "removeTimer"),
        ("try await group.stop(true)", "stop(graceful:until:)"),
        ("try await group.stopTimers(true)", "stopTimers(wait:until:)"),
        ("try await group.waitall()", "wait(until:)"),
        ("try await group.cancel(timeout: 10)", "cancel(until:"),
        ("try await group.cancel(timeout: .seconds(10))", "cancel(until:"),
        ("job.stop()", "cancel()"),
        ("_ = job.ident", "id"),
        ("_ = BackendType.eventlet", "cooperative"),
        ("_ = service.tg", "threadGroup"),
        ("try signals.addHandler(\"SIGHUP\") { _ in }", "addHandler(for:"),
        ("try signals.addHandlers([\"SIGHUP\"]) { _ in }", "addHandlers(for:"),
        ("try signals.ignoreHandler(\"SIGHUP\")", "ignore"),
        ("_ = try ProcessLauncher(noFork: true)", "ServiceLauncher(name:)"),
        ("try initBackend(.threading)", "Backend.initialize"),
        ("_ = try getBackend()", "Backend.current"),
        ("_ = getBackendType()", "Backend.selection?.type"),
        ("_ = try getComponent(\"Service\")", "Backend.component(named:)"),
        ("registerBackendDefaultHook { .threading }", "Backend.registerDefaultHook"),
        ("_ = try launch(settings, service)", "launch(_:workers:restartMethod:settings:)"),
        ("_ = LoopingCallBase.self", "LoopingCall"),
        ("_ = SignalExit.self", "ExitStatus"),
    ]

    @Test("are refused with the right ones", .enabled(if: canCompile))
    func hints() async throws {
        let functions = Self.calls.enumerated().map { number, pair in
            """
            func call\(number)(
                fixed: FixedIntervalLoopingCall, limited: FixedIntervalWithTimeoutLoopingCall, dynamic: DynamicLoopingCall,
                backOff: BackOffLoopingCall, group: ThreadGroup, job: Job, service: any ServiceBase,
                signals: SignalHandler, number: Int, settings: MusterSettings
            ) async throws {
            #sourceLocation(file: "call", line: \(number + 1))
            \(pair.call)
            #sourceLocation()
            }
            """
        }
        let folder = try TemporaryFolder()
        defer { withExtendedLifetime(folder) {} }
        let file = try folder.write((["import Muster"] + functions).joined(separator: "\n"), to: "main.swift")
        let root = Repository.root.path
        let compiler = try Program(
            "/usr/bin/env",
            [
                "bash", "-c",
                """
                maps=$(find "$0" "$1/Sources" "$1"/.build/checkouts/*/Sources -name module.modulemap | grep -v -e '-tool.build' | \
                    sed 's/^/-Xcc -fmodule-map-file=/')
                exec swiftc -typecheck -suppress-warnings -swift-version 6 -diagnostic-style=llvm -I "$0/Modules" $maps "$2"
                """, Self.products.path, root, file,
            ])
        #expect(try await compiler.status(within: 240) == 1)
        let errors = compiler.errors.split(separator: "\n")
        for (number, pair) in Self.calls.enumerated() {
            let found = errors.filter { $0.hasPrefix("call:\(number + 1):") && $0.contains("error:") }
            let isHint = found.contains { $0.contains("unavailable") || $0.contains("has been re") }
            #expect(isHint && found.contains { $0.contains(pair.hint) }, "\(pair.call): \(found)")
        }
    }
}
