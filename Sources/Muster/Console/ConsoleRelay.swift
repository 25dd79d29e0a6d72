// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterSupervision

/// The answers of several workers, put together. Pure.
struct ConsoleMerge {
    private let workers: [String]
    private var answers: [String: ConsoleAnswer] = [:]

    /// - Parameter workers: Those that are asked, in the order of the reply.
    init(workers: [String]) {
        self.workers = workers
    }

    /// Takes a worker's answer; its first one counts.
    mutating func add(_ answer: ConsoleAnswer, of worker: String) {
        if answers[worker] == nil, workers.contains(worker) { answers[worker] = answer }
    }

    var isComplete: Bool { answers.count == workers.count }

    /// The time is over.
    mutating func giveUp(after limit: Duration) {
        for worker in workers where answers[worker] == nil {
            answers[worker] = ConsoleAnswer(.timeout, "no answer within \(limit.text)")
        }
    }

    /// The tables with the workers' names in front, and the worst of the statuses.
    var answer: ConsoleAnswer {
        var merged = ConsoleAnswer()
        var messages: [String] = []
        for worker in workers {
            guard let answer = answers[worker] else { continue }
            merged.status = Self.worse(merged.status, answer.status)
            if let message = answer.message { messages.append("\(worker): \(message)") }
            if let table = answer.table {
                if merged.table == nil { merged.table = ConsoleTable([.init("worker")] + table.columns) }
                let rows = table.rows.map { [.text(worker)] + $0 }
                if merged.table?.columns.count == table.columns.count + 1 { merged.table?.rows += rows }
            }
            if let lines = answer.lines { merged.lines = (merged.lines ?? []) + lines.map { "\(worker) \($0)" } }
        }
        if !messages.isEmpty { merged.message = messages.joined(separator: "; ") }
        return merged
    }

    static func worse(_ first: ConsoleStatus, _ second: ConsoleStatus) -> ConsoleStatus {
        let order: [ConsoleStatus] = [.usage, .failed, .refused, .timeout]
        return order.first { $0 == first || $0 == second } ?? .ok
    }
}

/// Asks workers over their control channels, for a console.
///
/// With each request a worker gets one end of a connection, over which it answers: the supervisor's thread sends a packet
/// and has nothing more to do with it. A worker that does not answer costs its time limit and, until it does or ends, a
/// descriptor.
///
/// Sound as `@unchecked Sendable`: everything that changes belongs to the console's thread.
final class ConsoleRelay: @unchecked Sendable {
    /// How many requests a worker may leave unanswered until it is asked nothing more.
    private static let mostUnanswered = 2
    /// The most bytes of all answers to a request.
    private static let mostBytes = 16 << 20

    private let published: PublishedSupervisor
    private var unanswered: [Int: Int] = [:]

    init(_ published: PublishedSupervisor) {
        self.published = published
    }

    /// Whether a worker is meant: `nil` means all, a group's name all of its workers.
    static func matches(_ target: String?, _ group: String, _ slot: Int) -> Bool {
        target.map { $0 == group || $0 == "\(group)/\(slot)" } ?? true
    }

    /// Asks the workers that a request is meant for, beside what the supervisor itself answers. On the console's thread.
    func ask(
        _ request: ConsoleRequest, own: [(name: String, answer: ConsoleAnswer)], on loop: EventLoop,
        complete: @escaping @Sendable (ConsoleAnswer) -> Void
    ) {
        guard let supervisor = published.supervisor else {
            return complete(ConsoleAnswer(.failed, "the program is starting"))
        }
        let report = supervisor.report
        let workers = report.snapshot.groups.flatMap { group in
            group.slots.compactMap { slot -> (name: String, incarnation: Int)? in
                guard let incarnation = slot.incarnation, report.processes[incarnation] != nil,
                    Self.matches(request.target, group.configuration.name, slot.worker.slot)
                else { return nil }
                return ("\(group.configuration.name)/\(slot.worker.slot)", incarnation)
            }
        }
        if workers.isEmpty, own.isEmpty {
            return complete(
                request.target.map { .noWorker($0) } ?? ConsoleAnswer(.failed, "no worker has a process at present"))
        }
        let inquiry = Inquiry(
            ConsoleMerge(workers: own.map(\.name) + workers.map(\.name)), bytes: Self.mostBytes, complete: complete)
        for (name, answer) in own { inquiry.add(answer, of: name) }
        for worker in workers {
            guard unanswered[worker.incarnation, default: 0] < Self.mostUnanswered else {
                let text = "no answer to \(Self.mostUnanswered) earlier requests"
                inquiry.add(ConsoleAnswer(.timeout, text), of: worker.name)
                continue
            }
            do {
                try ask(request.line, worker.name, worker.incarnation, supervisor, inquiry, loop)
            } catch {
                inquiry.add(ConsoleAnswer(.failed, "\(error)"), of: worker.name)
            }
        }
        let limit = request.timeLimit
        inquiry.begin(limit, on: loop)
    }

    private func ask(
        _ line: String, _ name: String, _ incarnation: Int, _ supervisor: Supervisor, _ inquiry: Inquiry,
        _ loop: EventLoop
    ) throws {
        var pair: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &pair) == 0 else {
            throw SystemError("socketpair")
        }
        let (ours, theirs) = (OwnedDescriptor(pair[0]), OwnedDescriptor(pair[1]))
        let reception = Reception(ours, of: name, for: inquiry)
        reception.watch = try loop.watch(ours.rawValue, for: .readable) { [self] _ in
            guard reception.read() else { return }
            if let watch = reception.watch.take() { loop.unwatch(watch) }
            let left = (unanswered[incarnation] ?? 1) - 1
            unanswered[incarnation] = left > 0 ? left : nil
        }
        unanswered[incarnation, default: 0] += 1
        supervisor.loop.submit { supervisor.send(line, answeredOver: theirs, to: incarnation) }
    }

    /// One request and those who have not answered it.
    ///
    /// Sound as `@unchecked Sendable`: requests are handled, and the loop's callbacks for it run, on the console's thread.
    private final class Inquiry: @unchecked Sendable {
        private var merge: ConsoleMerge
        private var bytes: Int
        private var complete: (@Sendable (ConsoleAnswer) -> Void)?
        private var alarm: (loop: EventLoop, action: EventLoop.ScheduledAction)?

        init(_ merge: ConsoleMerge, bytes: Int, complete: @escaping @Sendable (ConsoleAnswer) -> Void) {
            self.merge = merge
            self.bytes = bytes
            self.complete = complete
        }

        var isOver: Bool { complete == nil }

        func begin(_ limit: Duration, on loop: EventLoop) {
            guard !merge.isComplete else { return end() }
            let action = loop.schedule(at: .now.advanced(by: limit)) { [self] in
                alarm = nil
                merge.giveUp(after: limit)
                end()
            }
            alarm = (loop, action)
        }

        func add(_ answer: ConsoleAnswer, of worker: String) {
            merge.add(answer, of: worker)
            if alarm != nil, merge.isComplete { end() }
        }

        /// Whether there is room for more bytes.
        func takes(_ count: Int) -> Bool {
            bytes -= count
            return bytes >= 0
        }

        private func end() {
            if let alarm = alarm.take() { alarm.loop.cancel(alarm.action) }
            complete.take()?(merge.answer)
            // A worker that has not answered keeps this for as long as it hangs.
            merge = ConsoleMerge(workers: [])
        }
    }

    /// What comes from one worker.
    ///
    /// Sound as `@unchecked Sendable`: it is made, and the loop's callback for its descriptor runs, on the console's thread.
    private final class Reception: @unchecked Sendable {
        private let descriptor: OwnedDescriptor
        private let worker: String
        private let inquiry: Inquiry
        private var bytes: [UInt8] = []
        private var isTooLong = false
        var watch: EventLoop.Watch?

        init(_ descriptor: OwnedDescriptor, of worker: String, for inquiry: Inquiry) {
            self.descriptor = descriptor
            self.worker = worker
            self.inquiry = inquiry
        }

        /// Reads what has come; returns whether that was all.
        func read() -> Bool {
            let count = withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 1) { buffer in
                let count = recv(descriptor.rawValue, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
                if inquiry.isOver { bytes = [] }
                if count > 0, !isTooLong, !inquiry.isOver {
                    if inquiry.takes(count) { bytes += buffer[..<count] } else { isTooLong = true }
                }
                return count
            }
            if count > 0 || count < 0 && (errno == EAGAIN || errno == EINTR) { return false }
            inquiry.add(answer, of: worker)
            bytes = []
            return true
        }

        private var answer: ConsoleAnswer {
            if isTooLong { return ConsoleAnswer(.failed, "the answer is too long") }
            if bytes.isEmpty {
                return ConsoleAnswer(.failed, "no answer: the worker has ended, or has no thread or descriptor left")
            }
            return (try? ConsoleAnswer(decoding: bytes)) ?? ConsoleAnswer(.failed, "unreadable answer")
        }
    }
}
