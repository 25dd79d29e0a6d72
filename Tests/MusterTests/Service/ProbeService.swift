// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterPlatform

/// A service that writes down what is done to it.
struct ProbeService: ServiceBase {
    enum Call: String, Sendable {
        case start
        case stop
        case stopGracefully
        case reset
        case wait
    }

    let name: String
    let calls: Recorder<String>
    var onStart: @Sendable () async throws -> Void = {}
    var onStop: @Sendable () async throws -> Void = {}
    var onReset: @Sendable () async throws -> Void = {}
    var onWait: @Sendable () async throws -> Void = {}

    init(
        _ name: String, _ calls: Recorder<String>, onStart: @escaping @Sendable () async throws -> Void = {},
        onStop: @escaping @Sendable () async throws -> Void = {},
        onReset: @escaping @Sendable () async throws -> Void = {},
        onWait: @escaping @Sendable () async throws -> Void = {}
    ) {
        self.name = name
        self.calls = calls
        self.onStart = onStart
        self.onStop = onStop
        self.onReset = onReset
        self.onWait = onWait
    }

    private func note(_ call: Call) {
        calls.append("\(name).\(call.rawValue)")
    }

    func start() async throws {
        note(.start)
        try await onStart()
    }

    func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {
        note(graceful ? .stopGracefully : .stop)
        try await onStop()
    }

    func reset() async throws {
        note(.reset)
        try await onReset()
    }

    func wait() async throws {
        note(.wait)
        try await onWait()
    }
}
