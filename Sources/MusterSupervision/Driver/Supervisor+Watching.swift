// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import MusterMetrics
import MusterPlatform

extension Supervisor {
    // MARK: What processes do

    func watch(_ child: WorkerChild) throws {
        let birth = child.birth
        child.pidWatch = try loop.watch(child.process.descriptor.rawValue, for: .readable) { [unowned self] _ in
            // What it has started and left behind ends with it. Its number is its own as long as it is not reaped.
            children[birth]?.process.killGroup()
            poll(birth)
        }
        child.channelWatch = try loop.watch(child.channel.descriptor.rawValue, for: .readable) { [unowned self] _ in
            listen(to: birth)
        }
    }

    func unwatch(_ child: WorkerChild) {
        if let watch = child.pidWatch.take() { loop.unwatch(watch) }
        if let watch = child.channelWatch.take() { loop.unwatch(watch) }
        if let look = child.look.take() { loop.cancel(look) }
        if let check = child.stopCheck.take() { loop.cancel(check) }
    }

    /// To be called when SIGCHLD has come: a process may have been stopped, or somebody else's has ended.
    package func childrenChanged() {
        for birth in children.keys.sorted() { poll(birth) }
        undertaken.removeAll { process in
            while let event = process.poll() { if case .exited = event { return true } }
            return false
        }
        guard getpid() == 1 else { return }
        let count = OrphanReaper.reap(except: Set((children.values.map(\.process) + undertaken).map(\.pid)))
        if count > 0 { orphansReaped?.increment(by: count) }
    }

    /// Takes up what has become of a process.
    private func poll(_ birth: Int) {
        while let child = children[birth], let event = child.process.poll() {
            switch event {
            case .exited(let exit): ended(child, exit)
            case .stopped: stopped(child)
            case .continued: continued(child)
            }
        }
    }

    private func ended(_ child: WorkerChild, _ exit: ChildExit) {
        // What it has said before it died counts.
        listen(to: child.birth)
        unwatch(child)
        children[child.birth] = nil
        let slot: SlotRecord? = if case .slot(let worker) = child.target { slot(worker) } else { nil }
        slot?.cpuSeconds += exit.cpuSeconds
        let wasKilledByKernel =
            exit.termination == .signaled(SIGKILL) && !child.isKilled && outOfMemory.claimKill() == true
        departed = child
        handle(.exited(child.birth, exit.termination, isOutOfMemory: wasKilledByKernel))
        departed = nil
        // Its successor is on the way by now: reading an arena takes longer than starting a process.
        slot?.source.processEnded(pid: child.process.pid)
    }

    private func listen(to birth: Int) {
        while let child = children[birth] {
            switch child.channel.receive() {
            case .message(let message): heard(message, from: child)
            case .nothing: return
            case .closed:
                if let watch = child.channelWatch.take() { loop.unwatch(watch) }
                return
            case .malformed(let problem):
                logger.warning(
                    "a worker said something that nobody understands",
                    metadata: ["worker": "\(name(of: child.target))", "problem": "\(problem)"])
            }
        }
    }

    private func heard(_ message: ControlMessage, from child: WorkerChild) {
        switch message {
        case .parked: handle(.parked(child.birth))
        case .ready:
            handle(.ready(child.birth))
            look(at: child)
        case .startFailed(let reason):
            child.failure = reason
            handle(.startFailed(child.birth))
        case .active: look(at: child, settling: true)
        case .stopping, .takeOver, .reset, .stop: break
        }
    }

    // MARK: Hangs

    /// Judges a worker by its signs of life, and looks again when the first of them could have stopped for too long.
    func look(at child: WorkerChild, settling: Bool = false) {
        if let scheduled = child.look.take() { loop.cancel(scheduled) }
        guard state.isJudged(child.birth) else { return }
        switch child.vitalSigns.watch(limit: livenessLimit, now: .now, settling: settling) {
        case .quiet: break
        case .hung(let hang):
            hung(child, reason: "\(hang)", canAbort: !child.isStopped)
        case .nextLook(let instant): scheduleLook(at: child, aligned(instant))
        }
    }

    private func scheduleLook(at child: WorkerChild, _ instant: MonotonicInstant, isPatient: Bool = true) {
        let birth = child.birth
        child.look = loop.schedule(at: instant) { [unowned self] in
            guard let child = children[birth] else { return }
            child.look = nil
            let lateness = instant.duration(to: .now)
            guard !isPatient || lateness <= livenessLimit / 4 else {
                // Whatever has held this process up, a frozen control group or a paused machine, has held the workers
                // up as well: they get the time to catch up.
                logger.notice(
                    "the supervisor itself was held up: workers are judged later",
                    metadata: ["worker": "\(name(of: child.target))", "by": "\(lateness)"])
                return scheduleLook(at: child, .now.advanced(by: livenessLimit / 2))
            }
            look(at: child)
        }
    }

    /// Looks are made together: later than they could be by a twentieth of the limit at most.
    private func aligned(_ instant: MonotonicInstant) -> MonotonicInstant {
        let grid = max(1, livenessLimit.clampedNanoseconds / 20)
        let rest = instant.nanoseconds % grid
        return rest == 0 ? instant : MonotonicInstant(nanoseconds: instant.nanoseconds - rest + grid)
    }

    private func hung(_ child: WorkerChild, reason: String, canAbort: Bool) {
        if canAbort, !child.isCrashing, BacktraceWatch.isUnderWay(in: child.process.pid) {
            // It has crashed, and is no hang. SIGABRT would cut its backtraces off.
            child.isCrashing = true
            logger.notice(
                "worker has crashed and writes its backtraces",
                metadata: ["worker": "\(name(of: child.target))", "pid": "\(child.process.pid)"])
            let grace = state.abortGrace(ofGroup: child.target.group)
            return scheduleLook(at: child, .now.advanced(by: grace), isPatient: false)
        }
        logger.error(
            "worker makes no progress",
            metadata: [
                "worker": "\(name(of: child.target))", "pid": "\(child.process.pid)", "reason": "\(reason)",
                "limit": "\(livenessLimit)",
            ])
        child.hungSince = .now
        handle(.unresponsive(child.birth, canAbort: canAbort))
    }

    private func stopped(_ child: WorkerChild) {
        guard child.stoppedSince == nil else { return }
        child.stoppedSince = .now
        logger.warning(
            "worker was stopped",
            metadata: ["worker": "\(name(of: child.target))", "pid": "\(child.process.pid)"])
        publish()
        let birth = child.birth
        child.stopCheck = loop.schedule(at: .now.advanced(by: livenessLimit)) { [unowned self] in
            guard let child = children[birth] else { return }
            child.stopCheck = nil
            guard child.isStopped, state.isJudged(child.birth) else { return }
            hung(child, reason: "it has been stopped by a signal", canAbort: false)
        }
    }

    private func continued(_ child: WorkerChild) {
        child.stoppedSince = nil
        publish()
        if let check = child.stopCheck.take() { loop.cancel(check) }
        look(at: child)
    }
}
