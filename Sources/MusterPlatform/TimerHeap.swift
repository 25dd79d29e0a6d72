// SPDX-License-Identifier: Apache-2.0

/// A 4-ary heap of deadlines over a slab of slots: arming, firing and cancelling are O(log n) and, once the slab
/// has grown to its working size, allocate nothing.
///
/// A timer may say by how much it may be late. The heap is one of deadlines all the same; only ``waking()`` goes by what
/// the timers tolerate.
///
/// A slot is reserved before its deadline is known, so that a cancellation that comes in between finds it.
struct TimerHeap<Payload> {
    /// Names one use of one slot; a token of an earlier use of the slot matches nothing.
    struct Token: Hashable, Sendable {
        fileprivate let slot: UInt32
        fileprivate let generation: UInt32
    }

    /// When to wake, and by how many nanoseconds later would do.
    struct Waking: Equatable {
        let instant: Int64
        let slack: Int64
    }

    /// What `cancel` found.
    enum Cancellation {
        /// The timer was armed; its payload is handed back and the slot is free.
        case disarmed(Payload)
        /// The slot was reserved only; arming it will report the cancellation.
        case noted
        /// The timer has fired or was cancelled already.
        case stale
    }

    private enum Phase {
        case free(next: UInt32)
        case reserved(isCancelled: Bool)
        case armed(heapIndex: Int)
    }

    private struct Slot {
        var generation: UInt32
        var phase: Phase
        var payload: Payload?
    }

    private struct Node {
        var deadline: Int64
        var slot: UInt32
        /// In nanoseconds, so at most 4.3 s: less than was granted is always right.
        var tolerance: UInt32

        var latest: Int64 {
            let (sum, overflow) = deadline.addingReportingOverflow(Int64(tolerance))
            return overflow ? .max : sum
        }
    }

    private static var noSlot: UInt32 { .max }

    private var slots: [Slot] = []
    private var firstFree = Self.noSlot
    private var nodes: [Node] = []
    /// What ``waking()`` has found, until a timer comes that forbids it or the one whose deadline it is goes.
    private var foundWaking: Waking?

    /// The number of armed timers.
    var count: Int { nodes.count }

    /// The number of slots ever needed at a time.
    var slotCount: Int { slots.count }

    /// The earliest armed deadline in nanoseconds.
    var earliest: Int64? { nodes.first?.deadline }

    /// When to wake so that as many timers as can be are served by one waking; `nil` when none is armed.
    ///
    /// That is the last deadline which is not beyond what any timer tolerates: a timer without a neighbour is punctual. To
    /// find it, the timers that will share the waking are visited, so that each timer costs a constant.
    mutating func waking() -> Waking? {
        guard let first = nodes.first else { return nil }
        if let foundWaking { return foundWaking }
        var visits = 0
        let limit = visitNodes(dueBy: first.latest) { node, limit in
            visits += 1
            // Where too many overlap, each deadline is soon followed by another anyway.
            return visits > Self.mostVisits ? .min : min(limit, node.latest)
        }
        var last = first.deadline
        _ = visitNodes(dueBy: limit) { node, limit in
            last = max(last, node.deadline)
            return limit
        }
        foundWaking = Waking(instant: last, slack: limit < last ? 0 : limit - last)
        return foundWaking
    }

    private static var mostVisits: Int { 1024 }

    /// Visits the armed timers whose deadlines are not after an instant, which each visit may bring forward.
    ///
    /// - Returns: The instant after the last visit.
    private func visitNodes(dueBy limit: Int64, _ visit: (Node, Int64) -> Int64) -> Int64 {
        var limit = limit
        var index = 0
        while true {
            if nodes[index].deadline <= limit {
                limit = visit(nodes[index], limit)
                if index * 4 + 1 < nodes.count {
                    index = index * 4 + 1
                    continue
                }
            }
            // A last child is followed by its parent's next sibling.
            while index > 0, index.isMultiple(of: 4) || index + 1 == nodes.count { index = (index - 1) / 4 }
            if index == 0 { return limit }
            index += 1
        }
    }

    /// Takes a slot.
    mutating func reserve() -> Token {
        if firstFree == Self.noSlot {
            slots.append(Slot(generation: 0, phase: .reserved(isCancelled: false), payload: nil))
            return Token(slot: UInt32(slots.count - 1), generation: 0)
        }
        let index = firstFree
        if case .free(let next) = slots[Int(index)].phase { firstFree = next }
        slots[Int(index)].phase = .reserved(isCancelled: false)
        return Token(slot: index, generation: slots[Int(index)].generation)
    }

    /// Arms a reserved slot.
    ///
    /// - Parameter tolerance: By how many nanoseconds it may be late; a negative number is zero.
    /// - Returns: `false` when it was cancelled in the meantime: the payload is not kept and the slot is free.
    mutating func arm(_ token: Token, deadline: Int64, tolerance: Int64 = 0, payload: Payload) -> Bool {
        let index = Int(token.slot)
        guard index < slots.count, slots[index].generation == token.generation,
            case .reserved(let isCancelled) = slots[index].phase
        else { return false }
        if isCancelled {
            release(token.slot)
            return false
        }
        let node = Node(deadline: deadline, slot: token.slot, tolerance: UInt32(clamping: tolerance))
        if let found = foundWaking, node.latest < found.instant + found.slack { foundWaking = nil }
        nodes.append(node)
        slots[index].phase = .armed(heapIndex: nodes.count - 1)
        slots[index].payload = payload
        siftUp(nodes.count - 1)
        return true
    }

    /// Cancels a use of a slot.
    mutating func cancel(_ token: Token) -> Cancellation {
        let index = Int(token.slot)
        guard index < slots.count, slots[index].generation == token.generation else { return .stale }
        switch slots[index].phase {
        case .free:
            return .stale
        case .reserved:
            slots[index].phase = .reserved(isCancelled: true)
            return .noted
        case .armed(let heapIndex):
            removeNode(at: heapIndex)
            guard let payload = release(token.slot) else { return .stale }
            return .disarmed(payload)
        }
    }

    /// Takes the earliest timer whose deadline is not after an instant.
    mutating func popDue(at now: Int64) -> (deadline: Int64, payload: Payload)? {
        guard let first = nodes.first, first.deadline <= now else { return nil }
        removeNode(at: 0)
        guard let payload = release(first.slot) else { return nil }
        return (first.deadline, payload)
    }

    @discardableResult
    private mutating func release(_ slot: UInt32) -> Payload? {
        let index = Int(slot)
        let payload = slots[index].payload.take()
        slots[index].generation &+= 1
        slots[index].phase = .free(next: firstFree)
        firstFree = slot
        return payload
    }

    private mutating func removeNode(at index: Int) {
        if nodes[index].deadline == foundWaking?.instant { foundWaking = nil }
        let last = nodes.removeLast()
        guard index < nodes.count else { return }
        place(last, at: index)
        if siftUp(index) == index { siftDown(index) }
    }

    private mutating func place(_ node: Node, at index: Int) {
        nodes[index] = node
        slots[Int(node.slot)].phase = .armed(heapIndex: index)
    }

    @discardableResult
    private mutating func siftUp(_ start: Int) -> Int {
        var index = start
        let node = nodes[index]
        while index > 0 {
            let parent = (index - 1) / 4
            guard node.deadline < nodes[parent].deadline else { break }
            place(nodes[parent], at: index)
            index = parent
        }
        if index != start { place(node, at: index) }
        return index
    }

    private mutating func siftDown(_ start: Int) {
        var index = start
        let node = nodes[index]
        while true {
            let firstChild = index * 4 + 1
            guard firstChild < nodes.count else { break }
            var least = firstChild
            for child in firstChild + 1..<max(firstChild + 1, min(firstChild + 4, nodes.count))
            where nodes[child].deadline < nodes[least].deadline {
                least = child
            }
            guard nodes[least].deadline < node.deadline else { break }
            place(nodes[least], at: index)
            index = least
        }
        if index != start { place(node, at: index) }
    }
}
