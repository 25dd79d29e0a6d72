// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterPlatform
import MusterSupervision

/// Which worker this process is.
///
/// ```swift
/// Backend.registerDefaultHook {
///     // One of the workers tries the other backend.
///     Worker.current?.slot == 0 ? .threading : .cooperative
/// }
/// ```
public struct Worker: Hashable, Sendable, CustomStringConvertible {
    /// The name of the launched service, the value of the label `worker_group`.
    public let group: String
    /// The slot it fills, from 0, the value of the label `worker`.
    public let slot: Int

    private static let assigned = Locked<Worker?>(nil)
    private static let supervisor = Locked<(channel: ControlChannel, hasAsked: Bool)?>(nil)

    /// The worker that this process is. `nil` in a supervisor, in a program that runs in one process, and in a warm
    /// spare that has no slot yet.
    public static var current: Worker? {
        if let assigned = assigned.withLock({ $0 }) { return assigned }
        guard case .worker(let marker) = WorkerMarker.current else { return nil }
        return marker.slot.map { Worker(group: marker.name, slot: $0) }
    }

    /// Whether a supervisor has started this process, be it for a slot or as a warm spare.
    public static var isWorkerProcess: Bool {
        switch WorkerMarker.current {
        case .worker, .orphan: true
        case .none: false
        }
    }

    /// Asks the supervisor to replace this worker when it is its turn, by another one that is ready before this one is
    /// stopped, gracefully. Counted as `recycled`.
    ///
    /// Returns at once; the worker serves on meanwhile. Only the first call has an effect.
    ///
    /// ```swift
    /// if requests.add(1, ordering: .relaxed).newValue == 100_000 {
    ///     Worker.current?.recycle("100,000 requests")
    /// }
    /// ```
    ///
    /// - Parameter reason: For the log.
    public func recycle(_ reason: String) {
        Self.supervisor.withLock { supervisor in
            guard let channel = supervisor?.channel, supervisor?.hasAsked == false else { return }
            // Tried again at the next call if there is no room.
            supervisor?.hasAsked = channel.send(.recycle(reason: reason))
        }
    }

    /// Connects the worker to its supervisor.
    static func connect(_ channel: ControlChannel) {
        supervisor.withLock { $0 = (channel, false) }
    }

    /// A warm spare has got a slot.
    static func assign(_ worker: Worker) {
        assigned.withLock { $0 = worker }
        LogIdentity.set(worker: "\(worker.slot)", group: worker.group)
    }

    /// Lets log lines say which worker this process is, if it is one.
    static func identifyLogs() { identity }

    private static let identity: Void = {
        guard case .worker(let marker) = WorkerMarker.current else { return }
        LogIdentity.set(worker: marker.slot.map(String.init) ?? "spare", group: marker.name)
    }()

    /// The group and the slot, for example `mailer/2`.
    public var description: String { "\(group)/\(slot)" }
}
