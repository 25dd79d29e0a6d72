// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import Logging
import MusterPlatform

/// How a supervisor starts its workers.
package enum StartMethod: String, CaseIterable, Hashable, Sendable {
    /// Each worker loads the program anew.
    case spawn
    /// Workers are forked from a process of the program that waits before `main`, which takes less time and memory. Where
    /// that cannot be done, they are spawned.
    case forkServer = "fork-server"
}

/// Whether there is a fork server. Pure.
///
/// | event      | off        | serving                     | pausing |
/// |------------|------------|-----------------------------|---------|
/// | `begin`    | start it   |                             |         |
/// | `forked`   |            | forget the failures         |         |
/// | `failed`   |            | end it, pause               |         |
/// | `outdated` |            | end it, start another one   |         |
/// | `crashed`  |            | end it, pause for a moment  |         |
/// | `due`      |            |                             | start   |
/// | `refused`  |            | end it; off                 | off     |
/// | `stop`     |            | end it; off                 | off     |
///
/// While it is off or pausing, workers are spawned.
struct ForkServerState: Hashable, Sendable {
    enum Phase: Hashable, Sendable {
        case off
        case serving
        case pausing
    }

    enum Event: Hashable, Sendable, CaseIterable {
        case begin
        /// It has forked a worker.
        case forked
        /// It could not be started, has ended, or does not answer.
        case failed
        /// The next workers are to have another address layout, or what has changed in the supervisor's surroundings.
        case outdated
        /// One of its workers has crashed, perhaps because somebody guesses the layout that all of them have. The
        /// replacement comes first and is spawned.
        case crashed
        /// The pause is over.
        case due
        /// The system does not let it fork.
        case refused
        case stop
    }

    enum Action: Hashable, Sendable {
        case start
        case end
        /// Send `due` after so long.
        case pause(Duration)
    }

    private static let longestPause = Duration.seconds(64)

    private(set) var phase = Phase.off
    private var failures = 0

    mutating func handle(_ event: Event) -> [Action] {
        switch (phase, event) {
        case (.off, .begin), (.pausing, .due):
            phase = .serving
            return [.start]
        case (.serving, .forked):
            failures = 0
            return []
        case (.serving, .failed):
            phase = .pausing
            failures += 1
            // The first time at once; then a second, two, four.
            let pause = failures == 1 ? .zero : Duration.seconds(1 << min(failures - 2, 6))
            return [.end, .pause(min(pause, Self.longestPause))]
        case (.serving, .outdated):
            return [.end, .start]
        case (.serving, .crashed):
            phase = .pausing
            return [.end, .pause(.zero)]
        case (.serving, .refused), (.serving, .stop):
            phase = .off
            return [.end]
        case (.pausing, .refused), (.pausing, .stop):
            phase = .off
            return []
        case (.off, _), (.serving, .begin), (.serving, .due), (.pausing, _):
            return []
        }
    }
}

/// The fork server of a supervisor: a process of the same program that ``CMuster`` keeps before its `main`, and that forks
/// workers as children of the supervisor.
///
/// Sound as `@unchecked Sendable`: as the supervisor, it belongs to the thread that runs `loop`. The process ends with that
/// thread.
final class ForkServer: @unchecked Sendable {
    /// What came of a request.
    enum Outcome {
        case forked(ChildProcess)
        /// The worker is to be spawned; what was made for it can be used.
        case unavailable
        /// As before, but a process may exist all the same that has got what was made for the worker.
        case lost
    }

    private struct Running {
        let process: ChildProcess
        let socket: OwnedDescriptor
        var watch: EventLoop.Watch?
        var hasAnswered = false
    }

    /// How many milliseconds an answer may take. It is some 0.2 ms.
    private static let patience: Int32 = 250
    /// The same for a server that is just starting, which takes some 8 ms.
    private static let firstPatience: Int32 = 1000

    private let request: SpawnRequest
    private let markerRoom: Int
    private let loop: EventLoop
    private let logger: Logger
    private var state = ForkServerState()
    private var running: Running?
    /// Servers that have been killed and not been waited for.
    private var ending: [Running] = []
    private var pause: EventLoop.ScheduledAction?

    /// - Parameters:
    ///   - request: How a worker would be spawned, but for what differs between workers. Its descriptors are as many as a
    ///     worker gets.
    ///   - markerRoom: How many bytes a worker's marker may have.
    init(request: SpawnRequest, markerRoom: Int, loop: EventLoop, logger: Logger) {
        self.request = request
        self.markerRoom = markerRoom
        self.loop = loop
        self.logger = logger
    }

    /// Why there cannot be one in this program; `nil` when there can.
    static var obstacle: String? {
        cmuster_fork_server_supported() ? nil : "the program is instrumented by a sanitizer"
    }

    /// The servers' processes that have not been waited for.
    var pids: [Int32] { (ending + [running].compactMap { $0 }).map(\.process.pid) }

    func handle(_ event: ForkServerState.Event) {
        for action in state.handle(event) {
            switch action {
            case .start: start()
            case .end: end()
            case .pause(let duration): schedule(after: duration)
            }
        }
        if state.phase == .off, let pause = pause.take() { loop.cancel(pause) }
    }

    private func schedule(after duration: Duration) {
        if let pause = pause.take() { loop.cancel(pause) }
        pause = loop.schedule(at: .now.advanced(by: duration)) { [unowned self] in
            pause = nil
            handle(.due)
        }
    }

    private func start() {
        do {
            let (ours, theirs) = try Self.socketPair()
            var request = request
            request.environment[WorkerMarker.variable] = nil
            request.environment[CMUSTER_FORK_ROOM] = String(repeating: " ", count: markerRoom)
            request.environment[CMUSTER_FORK_SERVER] = "\(try theirs.inode)"
            // Its children would otherwise look up each function of a library at its first call. They do not inherit this.
            if request.environment[CMUSTER_BIND_NOW] == nil {
                request.environment[CMUSTER_BIND_NOW] = CMUSTER_BIND_NOW_VALUE
            }
            request.descriptors = request.descriptors.map { _ in theirs.rawValue }
            let process = try ChildProcess.spawn(request)
            running = Running(process: process, socket: ours)
            // Without a descriptor, SIGCHLD alone tells of its end.
            if let descriptor = process.descriptor {
                running?.watch = try loop.watch(descriptor.rawValue, for: .readable) { [unowned self] _ in poll() }
            }
        } catch {
            logger.warning("cannot start the fork server; spawning workers", metadata: ["error": "\(error)"])
            handle(.failed)
        }
    }

    private static func socketPair() throws(SystemError) -> (OwnedDescriptor, OwnedDescriptor) {
        var pair: [Int32] = [-1, -1]
        let kind = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &pair) == 0 else { throw SystemError("socketpair") }
        return (OwnedDescriptor(pair[0]), OwnedDescriptor(pair[1]))
    }

    private func end() {
        guard let server = running.take() else { return }
        // With a child of its that has not left its group yet, and of which nobody would hear.
        server.process.killGroup()
        ending.append(server)
        poll()
    }

    /// To be called at SIGCHLD.
    func poll() {
        for index in ending.indices.reversed() where Self.hasEnded(ending[index].process) {
            let server = ending.remove(at: index)
            if let watch = server.watch { loop.unwatch(watch) }
            endUnclaimedWorker(of: server)
        }
        guard let server = running, Self.hasEnded(server.process) else { return }
        running = nil
        if let watch = server.watch { loop.unwatch(watch) }
        endUnclaimedWorker(of: server)
        logger.notice("fork server ended; starting another one", metadata: ["pid": "\(server.process.pid)"])
        handle(.failed)
    }

    private static func hasEnded(_ process: ChildProcess) -> Bool {
        while let event = process.poll() {
            if case .exited = event { return true }
        }
        return false
    }

    /// A server may have forked a worker after its supervisor had given it up.
    private func endUnclaimedWorker(of server: Running) {
        guard case .forked(let worker) = ChildProcess.forked(by: server.socket, patience: 0) else { return }
        worker.killGroup()
        // Waited for at its SIGCHLD.
        ending.append(Running(process: worker, socket: server.socket, watch: nil))
    }

    /// Asks for a worker and waits for it.
    func fork(title: String, marker: WorkerMarker, descriptors: [Int32]) -> Outcome {
        guard state.phase == .serving, let server = running else { return .unavailable }
        let answer = ChildProcess.fork(
            by: server.socket, title: title, marker: marker.encoded, descriptors: descriptors,
            patience: server.hasAnswered ? Self.patience : Self.firstPatience)
        switch answer {
        case .forked(let worker):
            running?.hasAnswered = true
            handle(.forked)
            return .forked(worker)
        case .impossible:
            return .unavailable
        case .refused(let error):
            logger.warning(
                "workers cannot be forked; spawning them",
                metadata: [
                    "error": error.code == EBUSY ? "the program has threads before its main" : "\(error)",
                    "remedy": "set muster.start-method to spawn, which says the same",
                ])
            handle(.refused)
            return .unavailable
        case .lost(let error):
            logger.warning(
                "fork server does not answer; spawning the worker",
                metadata: ["pid": "\(server.process.pid)", "error": "\(error)"])
            handle(.failed)
            return .lost
        }
    }
}

extension Termination {
    /// Whether the program has come to grief, rather than been killed.
    var isCrash: Bool {
        guard case .signaled(let signal) = self else { return false }
        return [SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGSYS].contains(signal)
    }
}
