// SPDX-License-Identifier: Apache-2.0

import MusterMetrics
import MusterPlatform

/// One process of the supervisor's. Belongs to the supervisor's thread.
final class WorkerChild {
    let birth: Int
    let process: ChildProcess
    let channel: ControlChannel
    let vitalSigns: VitalSignsReader
    /// The arena that a warm spare has brought along; nil for a process that got its slot's.
    let ownArena: OwnedDescriptor?
    var target: SpawnTarget
    var pidWatch: EventLoop.Watch?
    var channelWatch: EventLoop.Watch?
    var look: EventLoop.ScheduledAction?
    var stopCheck: EventLoop.ScheduledAction?
    /// Since when the system has kept it from running (SIGSTOP).
    var stoppedSince: MonotonicInstant?
    var isStopped: Bool { stoppedSince != nil }
    /// When it was found to be hung.
    var hungSince: MonotonicInstant?
    /// Whether it was found to be writing the backtraces of a crash.
    var isCrashing = false
    /// Whether we have sent SIGKILL, so that its death by that signal is no work of the kernel's.
    var isKilled = false
    /// What kept its services from starting, in its own words.
    var failure: String?

    init(
        birth: Int, process: ChildProcess, channel: ControlChannel, vitalSigns: VitalSignsReader,
        ownArena: OwnedDescriptor?, target: SpawnTarget
    ) {
        self.birth = birth
        self.process = process
        self.channel = channel
        self.vitalSigns = vitalSigns
        self.ownArena = ownArena
        self.target = target
    }
}
