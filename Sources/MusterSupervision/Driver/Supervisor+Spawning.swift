// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
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
            arena = try ArenaFile.create(name: "muster-metrics", capacity: plan.arenaCapacity)
            ownArena = arena
        }
        let vitalSigns = try VitalSignsReader.create(name: "muster-vital-signs")
        let (ours, theirs) = try ControlChannel.pair()
        let first = SpawnRequest.firstDescriptor
        let marker = WorkerMarker(
            group: target.group, name: state.groupName(target.group), slot: target.slot, birth: birth,
            supervisor: getpid(), controlInode: try theirs.inode, arena: first, arenaInode: try arena.inode,
            vitalSigns: first + 1, control: first + 2,
            sockets: plan.sockets.enumerated().map { index, socket in
                WorkerMarker.Socket(name: socket.name, descriptor: first + 3 + Int32(index))
            })
        var environment = plan.environment
        environment[WorkerMarker.variable] = marker.encoded
        var request = SpawnRequest(
            title: title(of: target), arguments: plan.arguments, environment: environment,
            descriptors: [arena.rawValue, vitalSigns.descriptor.rawValue, theirs.descriptor.rawValue]
                + plan.sockets.map(\.descriptor))
        request.executable = plan.executable
        // A spare is renamed when it gets a slot.
        if target.slot == nil { request.titleRoom = request.title.utf8.count + 8 }
        let process = try ChildProcess.spawn(request)
        let child = WorkerChild(
            birth: birth, process: process, channel: ours, vitalSigns: vitalSigns, ownArena: ownArena, target: target)
        children[birth] = child
        do {
            try watch(child)
        } catch {
            // Nobody would notice its end, so it must not begin.
            process.killGroup()
            unwatch(child)
            children[birth] = nil
            // It is dead, and reaped with the next news of a child.
            undertaken.append(process)
            throw error
        }
    }

    /// The slot's arena, replaced by an empty one when a worker has made it unusable.
    private func arenaOfSlot(_ worker: WorkerID) throws -> OwnedDescriptor {
        let slot = slot(worker)
        if let arena = slot.arena, !slot.source.needsFreshArena() { return arena }
        let fresh = try ArenaFile.create(name: "muster-metrics", capacity: plan.arenaCapacity)
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

    /// What a process is called in the process list.
    private func title(of target: SpawnTarget) -> String {
        WorkerTitle.long(program: plan.program, worker: name(of: target))
    }

    /// What a process is called for people, for example `mailer/2`.
    func name(of target: SpawnTarget) -> String {
        "\(state.groupName(target.group))/\(target.slot.map { "\($0)" } ?? "spare")"
    }
}
