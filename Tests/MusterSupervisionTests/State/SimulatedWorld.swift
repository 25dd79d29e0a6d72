// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import MusterTestSupport

@testable import MusterSupervision

/// A state machine in a world that does at random what worlds do: processes come up late, hang, crash, ignore signals,
/// and somebody sends requests all the time. After every step it looks whether what has to hold always does.
struct SimulatedWorld {
    /// What is known of a process from the actions and the world alone.
    struct Process {
        let group: Int
        var isSpare: Bool
        /// It was asked to stop, aborted or killed.
        var isLeaving = false
        /// A spare may take over where it dies.
        var isClaimable = false
    }

    enum Happening {
        case event(SupervisorEvent)
        case death(Int, Termination)
    }

    let seed: UInt64
    var random: SplitMix64
    var state: SupervisorState
    var now = MonotonicInstant(nanoseconds: 1_000_000_000)
    var processes: [Int: Process] = [:]
    /// In the order of arming, so that the same seed leads to the same sequence.
    var timers: [(timer: SupervisorTimer, at: MonotonicInstant)] = []
    var future: [(at: MonotonicInstant, what: Happening)] = []
    var log: [SupervisorEvent] = []
    var violation: String?
    /// Whether everything works at last: no fault and no request any more.
    var isCalm = false

    var configurations: [WorkerGroupConfiguration]
    var mostSpares: [Int]
    var exits = 0
    var deaths = 0
    var starts = 0
    var restarts = 0
    var countedRestarts = 0
    var finished: [Int32] = []
    var isEnding = false
    var isHalted = false
    var reloadsAsked = 0
    var reloadsEnded = 0
    /// What the actions have caused at once.
    var pending: [SupervisorEvent] = []

    init(seed: UInt64) {
        self.seed = seed
        var random = SplitMix64(seed: seed)
        configurations = (0..<Int.random(in: 1...2, using: &random)).map { index in
            WorkerGroupConfiguration(
                name: "group\(index)", workers: Int.random(in: 0...3, using: &random),
                warmSpares: Int.random(in: 0...5, using: &random) / 3,
                policy: [.always, .always, .always, .onFailure, .never].randomElement(using: &random) ?? .always,
                backoff: RestartBackoff(
                    base: .milliseconds(Int.random(in: 0...20, using: &random)), maximum: .seconds(2),
                    stableTime: .seconds(1)),
                intensity: Bool.random(using: &random)
                    ? nil
                    : RestartIntensity(
                        maximum: Int.random(in: 0...10, using: &random), period: .seconds(3),
                        whenExceeded: Int.random(in: 0..<4, using: &random) == 0 ? .escalate : .absorb),
                startupTimeout: .seconds(2), stopTimeout: .seconds(Int.random(in: 0...3, using: &random)),
                abortGrace: .milliseconds(Int.random(in: 0...500, using: &random)),
                recycle: Self.recycling(&random))
        }
        mostSpares = configurations.map(\.warmSpares)
        state = SupervisorState(
            SupervisorConfiguration(
                groups: configurations, shutdownDelay: .seconds(Int.random(in: 0...1, using: &random)),
                jitterSeed: seed))
        self.random = random
    }

    /// Runs one sequence.
    ///
    /// - Returns: What did not hold, with the events that led there; nil if everything did.
    static func run(seed: UInt64) -> String? {
        var world = SimulatedWorld(seed: seed)
        world.live()
        return world.violation.map { violation in
            "seed \(seed): \(violation)\n" + world.log.suffix(60).map { "  \($0)" }.joined(separator: "\n")
        }
    }

    mutating func live() {
        // Mostly short lives, so that there are many different ones; some long ones, for what needs time.
        let steps = seed % 100 == 0 ? chance(1, 4) ? 600 : 150 : Int.random(in: 2...14, using: &random)
        tell(.begin)
        for _ in 0..<steps where violation == nil && finished.isEmpty {
            if chance(2, 5) { tell(request()) } else { step() }
        }
        isCalm = true
        if chance(1, 3) { calmDown() }
        if finished.isEmpty, violation == nil { end() }
        guard violation == nil else { return }
        require(finished.count == 1, "not finished once")
        require(!isHalted || finished == [1], "ended at once, but not with status 1")
        require(reloadsEnded == reloadsAsked, "a reload has not ended once")
        require(timers.isEmpty, "timers left at the end", timers.first?.timer)
    }

    /// Everything works from now on: in the end there are as many workers and spares as were asked for.
    mutating func calmDown() {
        // With an age it would go on for ever.
        for index in configurations.indices { configurations[index].recycle.age = .zero }
        tell(.reconfigure(configurations))
        let deadline = now.advanced(by: .seconds(600))
        while violation == nil, finished.isEmpty, now < deadline, step() {}
        guard finished.isEmpty, violation == nil else { return }
        require(timers.isEmpty, "not calm", timers.first?.timer)
        require(state.isEveryWorkerReady, "calm, but not every worker is ready")
        for (index, group) in state.snapshot(at: now).groups.enumerated() {
            require(group.surplus == 0, "calm, but there are processes too many")
            require(!group.isOverIntensity, "calm, but over its intensity")
            let isFinished = group.workers > 0 && group.slots[..<group.workers].allSatisfy { $0.state == .finished }
            let spares = isFinished ? 0 : configurations[index].warmSpares
            require(group.sparesParked == spares && group.sparesStarting == 0, "calm, but spares are missing")
        }
        require(state.rollingReload == nil, "calm, but a roll is under way")
    }

    static func recycling(_ random: inout SplitMix64) -> RecyclePolicy {
        RecyclePolicy(
            age: .seconds(max(0, Int.random(in: -3...3, using: &random))),
            minimumAge: .milliseconds(Int.random(in: 0...2000, using: &random)))
    }

    mutating func end() {
        let isAtOnce = chance(1, 4)
        let isHalting = state.phase == .halting
        tell(isAtOnce ? .interrupt : chance(1, 2) ? .end(status: 5) : .terminate)
        // The delay, a hang that was found in it, the deadlines of stopping, and a killed process' last seconds.
        let deadline = now.advanced(by: isAtOnce || isHalting ? .seconds(1) : .seconds(12))
        while violation == nil, finished.isEmpty, step() {}
        require(now <= deadline, "the end took too long")
    }

    /// Whether everything is still served although the end has begun.
    var isDelaying: Bool { if case .delaying = state.stage { true } else { false } }

    // MARK: The world

    mutating func chance(_ part: Int, _ whole: Int) -> Bool { Int.random(in: 0..<whole, using: &random) < part }

    mutating func soon(_ milliseconds: ClosedRange<Int>) -> MonotonicInstant {
        now.advanced(by: .milliseconds(Int.random(in: milliseconds, using: &random)))
    }

    mutating func later(_ milliseconds: ClosedRange<Int>, _ event: SupervisorEvent) {
        future.append((soon(milliseconds), .event(event)))
    }

    mutating func die(_ incarnation: Int, _ milliseconds: ClosedRange<Int>, _ termination: Termination) {
        future.append((soon(milliseconds), .death(incarnation, termination)))
    }

    /// Lets the next thing happen that is due to.
    ///
    /// - Returns: Whether there was one.
    @discardableResult
    mutating func step() -> Bool {
        let next = future.indices.min { future[$0].at < future[$1].at }
        let due = timers.indices.min { timers[$0].at < timers[$1].at }
        if let due, next.map({ timers[due].at <= future[$0].at }) ?? true {
            let (timer, instant) = timers.remove(at: due)
            now = max(now, instant)
            tell(.timer(timer))
            return true
        }
        guard let next else { return false }
        let (instant, what) = future.remove(at: next)
        now = max(now, instant)
        switch what {
        case .event(let event): tell(event)
        case .death(let incarnation, let termination):
            // Its bell may be heard before, or too late.
            if chance(1, 4) { later(0...5, .dying(incarnation)) }
            if chance(1, 2) { ring(incarnation) }
            guard violation == nil, finished.isEmpty else { return true }
            // Only the first of its deaths is one.
            guard let process = processes.removeValue(forKey: incarnation) else { return true }
            exits += process.isSpare ? 0 : 1
            tell(.exited(incarnation, termination, isOutOfMemory: termination == .signaled(9) && chance(1, 5)))
        }
        return true
    }

    /// A bell: the group's spare, if there is one, has been told before anything else is known of it.
    mutating func ring(_ incarnation: Int) {
        if let process = processes[incarnation], process.isClaimable, !process.isLeaving,
            let heir = state.heirs[process.group]
        {
            tell(.claimed(incarnation, by: heir))
        }
        guard violation == nil, finished.isEmpty else { return }
        tell(.dying(incarnation))
    }

    /// Something that somebody wants, or a message from nowhere.
    mutating func request() -> SupervisorEvent {
        let incarnation = Int.random(in: 1...max(1, state.nextIncarnation), using: &random)
        let group = Int.random(in: 0...configurations.count, using: &random)
        let worker = WorkerID(group: group, slot: Int.random(in: 0...3, using: &random))
        switch Int.random(in: 0..<40, using: &random) {
        case 0..<5: return .reload
        case 5: return .mutate
        case 6: return .reloadRefused
        case 7..<11: return .scale(group: group, to: Int.random(in: -1...4, using: &random))
        case 11: return .addWorker
        case 12: return .removeWorker
        case 13..<16: return .replace(worker)
        case 16..<20: return .unresponsive(incarnation, canAbort: chance(3, 4))
        case 20: return .ready(state.nextIncarnation + 1)
        case 21: return .timer(.backoff(worker))
        case 22:
            return .timer(
                [.startup(incarnation), .kill(incarnation), .abort(incarnation), .halt].randomElement(using: &random)
                    ?? .halt)
        case 23:
            for index in configurations.indices {
                configurations[index].warmSpares = Int.random(in: 0...5, using: &random) / 3
                configurations[index].stopTimeout = .seconds(Int.random(in: 0...3, using: &random))
                configurations[index].recycle = Self.recycling(&random)
                mostSpares[index] = max(mostSpares[index], configurations[index].warmSpares)
            }
            return .reconfigure(configurations)
        case 24: return .parked(incarnation)
        case 28 where chance(1, 2):
            return .claimed(incarnation, by: Int.random(in: 1...max(1, state.nextIncarnation), using: &random))
        case 28: return .dying(incarnation)  // The bell of a broken process.
        case 29: return .recycle(incarnation, [.memory(1), .age, .requested("")].randomElement(using: &random) ?? .age)
        case 25 where chance(1, 4): return .interrupt
        case 26 where chance(1, 2): return .terminate
        case 27 where chance(1, 2): return .end(status: 3)
        default:
            // Somebody kills a process.
            die(
                incarnation, 0...5, chance(1, 4) ? .exited(code: Int32.random(in: 0...1, using: &random)) : .signaled(9)
            )
            return .timer(.shutdownDelay)
        }
    }

    /// What a worker does when it gets its slot.
    mutating func comeUp(_ incarnation: Int) {
        switch isCalm ? 0 : Int.random(in: 0..<20, using: &random) {
        case 0..<15: later(1...300, .ready(incarnation))
        case 15:
            later(1...100, .startFailed(incarnation))
            die(incarnation, 100...200, .exited(code: 1))
        case 16: die(incarnation, 0...200, .signaled(11))
        case 17: die(incarnation, 0...200, .exited(code: 0))
        case 18: later(1900...2100, .ready(incarnation))  // At the time-out.
        default: break  // It hangs.
        }
    }

    mutating func act(_ action: SupervisorAction) {
        switch action {
        case .spawn(let incarnation, let target):
            require(processes[incarnation] == nil, "born twice")
            let isSpare = target == .spare(group: target.group)
            require(!isEnding || isDelaying && !isSpare, "spawned after the end began")
            require(!isSpare || !isComingUp(target.group), "a spare competes with a start")
            processes[incarnation] = Process(group: target.group, isSpare: isSpare)
            guard isCalm || !chance(1, 20) else { return pending.append(.spawnFailed(incarnation)) }
            pending.append(.spawned(incarnation))
            if !isSpare { return comeUp(incarnation) }
            switch isCalm ? 0 : Int.random(in: 0..<8, using: &random) {
            case 0..<6: later(1...100, .parked(incarnation))
            case 6: die(incarnation, 0...300, .signaled(9))
            default: break
            }
        case .promote(let incarnation, _), .promoted(let incarnation, _):
            require(!isEnding, "promoted after the end began")
            starts += 1
            require(processes[incarnation]?.isSpare == true, "promoted what is no spare")
            processes[incarnation]?.isSpare = false
            comeUp(incarnation)
        case .stop(let incarnation):
            require(processes[incarnation]?.isLeaving == false, "stopped what is not there, or leaving")
            processes[incarnation]?.isLeaving = true
            // Where there is no deadline every process goes in the end.
            let isEndless = processes[incarnation].map { configurations[$0.group].stopTimeout == .zero } ?? true
            if isCalm || isEndless || !chance(1, 8) {
                die(incarnation, 0...1000, chance(1, 5) ? .signaled(15) : .exited(code: 0))
            }
        case .abort(let incarnation):
            require(processes[incarnation]?.isLeaving == false, "aborted what is not there, or leaving")
            processes[incarnation]?.isLeaving = true
            if chance(4, 5) { die(incarnation, 0...300, .signaled(6)) }
        case .kill(let incarnation):
            require(processes[incarnation] != nil, "killed what is not there")
            processes[incarnation]?.isLeaving = true
            die(incarnation, 0...(chance(1, 20) ? 3000 : 3), .signaled(9))
        case .finishOff(let incarnation):
            require(processes[incarnation]?.isLeaving == false, "finished off what is not there, or leaving")
            processes[incarnation]?.isLeaving = true
            die(incarnation, 0...3, .signaled(9))
        case .reset(let incarnation):
            require(processes[incarnation]?.isLeaving == false, "reset what is not there, or leaving")
            // Some never answer.
            if chance(9, 10) { later(1...300, .hasReset(incarnation, succeeded: chance(4, 5))) }
        case .arm(let timer, let instant):
            require(instant >= now, "armed in the past", timer)
            timers.removeAll { $0.timer == timer }
            timers.append((timer, instant))
        case .disarm(let timer):
            let armed = timers.count
            timers.removeAll { $0.timer == timer }
            require(timers.count == armed - 1, "disarmed what was not armed", timer)
        case .notice(let notice): take(notice)
        case .finish(let status):
            finished.append(status)
            isEnding = true
        }
    }

    mutating func take(_ notice: SupervisorNotice) {
        switch notice {
        case .died(let death): deaths += death.worker == nil ? 0 : 1
        case .restarting: restarts += 1
        case .recycling(let worker, let incarnation, _):
            let since = state.processes[incarnation]?.readySince
            require(
                since.map { $0.duration(to: now) >= configurations[worker.group].recycle.minimumAge } ?? false,
                "recycled before its minimum age")
        case .shutdownBegan: isEnding = true
        case .halted:
            isEnding = true
            isHalted = true
        case .reloadEnded, .resetEnded: reloadsEnded += 1
        default: break
        }
    }

    mutating func tell(_ event: SupervisorEvent) {
        pending.append(event)
        while !pending.isEmpty, violation == nil {
            handle(pending.removeFirst())
            check()
        }
    }

    mutating func handle(_ event: SupervisorEvent) {
        log.append(event)
        switch event {
        case .spawned(let incarnation): starts += processes[incarnation]?.isSpare == false ? 1 : 0
        case .spawnFailed(let incarnation): processes[incarnation] = nil
        case .reload, .mutate: reloadsAsked += state.stage == .running ? 1 : 0
        case .reloadRefused: reloadsAsked += 1
        // Also one that is told out of turn has fired, if it is due.
        case .timer(let timer): timers.removeAll { $0.timer == timer && $0.at <= now }
        default: break
        }
        let toldSpare: Int? =
            if case .claimed(_, let spare) = event, state.heirs.values.contains(spare) { spare } else { nil }
        var actions: [SupervisorAction] = []
        state.handle(event, at: now, into: &actions)
        for action in actions { act(action) }
        if case .ready(let incarnation) = event {
            processes[incarnation]?.isClaimable = state.claimableSlot(of: incarnation) != nil
        }
        if let process = toldSpare.flatMap({ processes[$0] }) {
            require(!process.isSpare || process.isLeaving, "a spare that was told of a slot waits for another one")
        }
    }
}
