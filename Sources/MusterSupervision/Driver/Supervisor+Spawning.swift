// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterMetrics
import MusterPlatform

extension Supervisor {
    /// Starts a process for a slot, or as a warm spare.
    func spawn(_ birth: Int, _ target: SpawnTarget) {
        do {
            try start(birth, target)
            handle(.spawned(birth))
        } catch {
            logger.error(
                "worker could not be started",
                metadata: ["target": "\(name(of: target))", "error": "\(error)"])
            handle(.spawnFailed(birth))
        }
    }

    private func start(_ birth: Int, _ target: SpawnTarget) throws {
        let arena: OwnedDescriptor
        var ownArena: OwnedDescriptor?
        switch target {
        case .slot(let worker): arena = try arenaOfSlot(worker)
        case .spare:
            arena = try SlotSource.makeArena(name: "muster-metrics", capacity: plan.arenaCapacity)
            ownArena = arena
        }
        let (vitalFile, vitalSigns) = try VitalSigns.create()
        let (ours, theirs) = try ControlChannel.pair()
        let marker = try WorkerMarker(
            group: state.groupName(target.group), slot: target.slot, birth: birth, supervisor: getpid(),
            arena: arena.rawValue, vitalSigns: vitalFile.rawValue, control: theirs.rawValue,
            sockets: plan.sockets.map { ($0.name, $0.descriptor) })
        var environment = plan.environment
        environment[WorkerMarker.variable] = marker.text
        let title = title(of: target)
        let process = try ChildProcess.spawn(
            SpawnRequest(
                executable: plan.executable, title: title, arguments: Array(plan.arguments.dropFirst()),
                environment: environment, descriptors: marker.descriptors))
        let child = WorkerChild(
            birth: birth, process: process, channel: ControlChannel(ours), vitalSigns: vitalSigns,
            ownArena: ownArena, target: target)
        children[birth] = child
        do {
            try watch(child)
        } catch {
            // Nobody would notice its end, so it must not begin.
            process.killGroup()
            _ = process.waitForExit()
            unwatch(child)
            children[birth] = nil
            throw error
        }
    }

    /// The slot's arena, replaced by an empty one when a worker has made it unusable.
    private func arenaOfSlot(_ worker: WorkerID) throws -> OwnedDescriptor {
        let slot = slot(worker)
        if let arena = slot.arena, !slot.source.needsFreshArena() { return arena }
        let fresh = try SlotSource.makeArena(name: "muster-metrics", capacity: plan.arenaCapacity)
        if slot.arena != nil {
            logger.warning(
                "a worker has damaged its metric arena, the next one gets a new one",
                metadata: ["worker": "\(worker.slot)", "worker_group": "\(state.groupName(worker.group))"])
        }
        slot.source.use(arena: fresh)
        slot.arena = fresh
        return fresh
    }

    func slot(_ worker: WorkerID) -> SlotRecord {
        if let known = slots[worker] { return known }
        let source = SlotSource(
            constantLabels: [("worker", "\(worker.slot)"), ("worker_group", state.groupName(worker.group))],
            logger: logger)
        let slot = SlotRecord(source: source)
        slots[worker] = slot
        addSource?(source)
        return slot
    }

    /// Lets a warm spare take over a slot.
    func promote(_ birth: Int, to worker: WorkerID) {
        guard let child = children[birth] else { return }
        child.target = .slot(worker)
        // Should it be dead already, its end is on the way.
        _ = child.channel.send(.takeOver(slot: worker.slot))
        // Only now, with the spare under way: the totals of the slot's old arena move.
        guard let arena = child.ownArena else { return }
        let slot = slot(worker)
        slot.source.use(arena: arena)
        slot.arena = arena
    }

    private func title(of target: SpawnTarget) -> String {
        let program = plan.arguments.first.map { $0.split(separator: "/").last.map(String.init) ?? $0 } ?? "muster"
        return "\(program): \(name(of: target))"
    }

    /// What a process is called for people, for example `mailer/2`.
    func name(of target: SpawnTarget) -> String {
        "\(state.groupName(target.group))/\(target.slot.map { "\($0)" } ?? "spare")"
    }
}
