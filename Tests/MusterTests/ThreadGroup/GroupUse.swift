// SPDX-License-Identifier: Apache-2.0

import Muster

/// What a job may do to its own group.
enum GroupUse: String, CaseIterable, Sendable {
    case addThread
    case tryAddThread
    case addTimer
    case addDynamicTimer
    case wait
    case stop
    case stopGracefully
    case stopTimers
    case stopTimersAndWait
    case removeTimer
    case cancel

    func apply(to group: ThreadGroup) async throws {
        switch self {
        case .addThread: try await group.addThread(name: "nested") {}
        case .tryAddThread: _ = try? group.tryAddThread(name: "nested") {}
        case .addTimer: try group.addTimer(name: "nested", interval: .seconds(1)) {}
        case .addDynamicTimer: try group.addDynamicTimer(name: "nested") { .seconds(1) }
        case .wait: try await group.wait()
        case .stop: try await group.stop()
        case .stopGracefully: try await group.stop(graceful: true)
        case .stopTimers: try await group.stopTimers()
        case .stopTimersAndWait: try await group.stopTimers(wait: true)
        case .removeTimer: for timer in group.timers { group.removeTimer(timer) }
        case .cancel: try await group.cancel()
        }
    }
}
