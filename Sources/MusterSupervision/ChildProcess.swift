// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterLock
package import MusterPlatform

/// A process that this one has started.
///
/// The kernel ties a child to the *thread* that started it where a worker asks for a signal at its parent's death
/// (``ParentWatch``), so start workers from a thread that lives as long as the process.
package final class ChildProcess: Sendable {
    /// The process' number, and its process group's. It may be another process' once the end has been told.
    package let pid: Int32
    /// Readable once the process has ended; close-on-exec. `nil` where the kernel, or a seccomp filter, has no
    /// pidfd_open(2): then SIGCHLD alone tells of the end.
    package let descriptor: OwnedDescriptor?
    private let isOver = Locked(false)

    private init(pid: Int32, descriptor: OwnedDescriptor?) {
        self.pid = pid
        self.descriptor = descriptor
    }

    /// Starts a program: in a process group of its own, every signal at its default and none blocked, and with no
    /// descriptors but 0, 1, 2 and those of the request.
    ///
    /// - Throws: `SystemError` of `posix_spawn` with the reason: no such program (`ENOENT`), no descriptor
    ///   (`EMFILE`), a descriptor of the request is not open (`EBADF`), no process (`EAGAIN`). An argument or
    ///   variable with a zero byte in it is refused with `EINVAL`.
    package static func spawn(_ request: SpawnRequest) throws(SystemError) -> ChildProcess {
        var pid: Int32 = 0
        var descriptor: Int32 = -1
        let code = start(request, &pid, &descriptor)
        if code != 0 { throw SystemError("posix_spawn of \(request.executable)", code: code) }
        return ChildProcess(pid: pid, descriptor: descriptor < 0 ? nil : OwnedDescriptor(descriptor))
    }

    /// What a fork server has answered.
    enum ForkAnswer {
        case forked(ChildProcess)
        /// It cannot start this worker, now.
        case impossible
        /// The system does not let it fork at all.
        case refused(SystemError)
        /// It has ended, or has not answered in time.
        case lost(SystemError)
    }

    /// Starts a process of the same program by a fork server: as ``spawn(_:)``, but that its environment and arguments are
    /// the server's.
    ///
    /// - Parameter patience: How many milliseconds to wait for the answer.
    static func fork(
        by server: OwnedDescriptor, title: String, marker: String, descriptors: [Int32], patience: Int32
    ) -> ForkAnswer {
        let code = cmuster_fork_request(server.rawValue, title, marker, descriptors, Int32(descriptors.count))
        switch code {
        case 0: return forked(by: server, patience: patience)
        case E2BIG, EMSGSIZE, ENOBUFS, ENOMEM, ETOOMANYREFS: return .impossible
        default: return .lost(SystemError("sendmsg", code: code))
        }
    }

    /// Waits for the answer to a request.
    static func forked(by server: OwnedDescriptor, patience: Int32) -> ForkAnswer {
        var refusal: Int32 = 0
        var pid: Int32 = 0
        let code = cmuster_fork_reply(server.rawValue, patience, &refusal, &pid)
        if code != 0 { return .lost(SystemError("recv", code: code)) }
        if [E2BIG, EAGAIN, ENOMEM].contains(refusal) { return .impossible }
        if refusal != 0 { return .refused(SystemError("clone", code: refusal)) }
        var descriptor: Int32 = -1
        guard cmuster_child_open(pid, &descriptor) == 0 else { return .impossible }
        return .forked(ChildProcess(pid: pid, descriptor: descriptor < 0 ? nil : OwnedDescriptor(descriptor)))
    }

    /// Whether any child of this process has been stopped or continued since that was polled last.
    static var isAnyStoppedOrContinued: Bool { cmuster_is_child_stopped_or_continued() }

    /// Why processes can be named by their numbers only; `nil` when they cannot. Signals reach them all the same.
    package static var descriptorsMissing: SystemError? {
        let code = cmuster_pidfd_missing()
        return code == 0 ? nil : SystemError("pidfd_open or pidfd_send_signal", code: code)
    }

    private static func start(_ request: SpawnRequest, _ pid: inout Int32, _ descriptor: inout Int32) -> Int32 {
        var title = Array(request.title.utf8)
        if title.count < request.titleRoom {
            title += [UInt8](repeating: UInt8(ascii: " "), count: request.titleRoom - title.count)
        }
        let arguments = [title] + request.arguments
        guard let arguments = CStringList(arguments), let environment = CStringList(request.environment.entries),
            !request.executable.utf8.contains(0)
        else { return EINVAL }
        return cmuster_spawn(
            request.executable, arguments.pointers, environment.pointers, request.descriptors,
            Int32(request.descriptors.count), &pid, &descriptor)
    }

    /// Sends a signal to the process, and never to another one that has got its number.
    ///
    /// - Returns: `false` when the process has ended.
    @discardableResult
    package func send(_ signal: Int32) -> Bool {
        isOver.withLock { isOver in
            !isOver && cmuster_child_send_signal(pid, descriptor?.rawValue ?? -1, signal) == 0
        }
    }

    /// Kills the process and everything that it has started in its process group. Does nothing once the end has been
    /// told by ``poll()``, for the number may be another group's then.
    ///
    /// - Returns: `false` when there was nobody to kill.
    @discardableResult
    package func killGroup() -> Bool {
        isOver.withLock { isOver in !isOver && kill(-pid, SIGKILL) == 0 }
    }

    /// Takes the next piece of news without waiting: to be called again until it returns `nil`, whenever
    /// ``descriptor`` is readable (the process has ended) and at each `SIGCHLD` (stopped and continued, too). At the
    /// process' end, what it has started in its process group is killed.
    ///
    /// - Returns: `nil` when nothing has happened since, and always after the end.
    package func poll() -> ChildEvent? {
        isOver.withLock { isOver in
            guard !isOver else { return nil }
            var event = cmuster_child_event()
            guard cmuster_child_poll(pid, &event) == 0 else {
                // Somebody else has waited for it: how it ended is lost, but not that it ended.
                isOver = true
                return .exited(ChildExit(termination: .signaled(0), cpuSeconds: 0))
            }
            guard event.happened else { return nil }
            switch event.code {
            case Int32(CLD_STOPPED), Int32(CLD_TRAPPED):
                return .stopped(signal: event.status)
            case Int32(CLD_CONTINUED):
                return .continued
            default:
                isOver = true
                let termination: Termination =
                    event.code == Int32(CLD_EXITED) ? .exited(code: event.status) : .signaled(event.status)
                return .exited(ChildExit(termination: termination, cpuSeconds: event.cpu_seconds))
            }
        }
    }
}

/// Strings as C takes them, with a null pointer at the end.
private final class CStringList {
    let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
    private let count: Int

    /// Returns `nil` when a string has a zero byte in it, which would cut it off.
    init?(_ strings: [[UInt8]]) {
        if strings.contains(where: { $0.contains(0) }) { return nil }
        count = strings.count
        pointers = .allocate(capacity: count + 1)
        for (index, bytes) in strings.enumerated() {
            let text = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count + 1)
            for (position, byte) in bytes.enumerated() { text[position] = CChar(bitPattern: byte) }
            text[bytes.count] = 0
            pointers[index] = text
        }
        pointers[count] = nil
    }

    deinit {
        for index in 0..<count { pointers[index]?.deallocate() }
        pointers.deallocate()
    }
}

/// A piece of news about a child process.
package enum ChildEvent: Hashable, Sendable {
    /// It has ended. The last event of a child.
    case exited(ChildExit)
    /// A signal has stopped it: it does nothing until it is continued.
    case stopped(signal: Int32)
    /// It goes on after a stop.
    case continued
}

/// How a child process ended.
package struct ChildExit: Hashable, Sendable {
    /// Its exit code or the signal that ended it.
    package let termination: Termination
    /// The user and system time that it spent in its life, in seconds, with that of its own children that it waited
    /// for.
    package let cpuSeconds: Double

    package init(termination: Termination, cpuSeconds: Double) {
        self.termination = termination
        self.cpuSeconds = cpuSeconds
    }
}

/// What program to start, and with what.
package struct SpawnRequest: Sendable {
    /// The path of the program; this very one unless set, even when its file has been replaced since.
    package var executable = SpawnRequest.ownExecutable
    /// What the program is called in the process list: its `argv[0]`.
    package var title: String
    /// How many bytes the title takes at least, filled up with spaces: the room that ``ProcessTitle`` has later.
    package var titleRoom = 0
    /// The arguments after the title, as bytes without the final zero.
    package var arguments: [[UInt8]]
    /// The environment.
    package var environment: ProcessEnvironment
    /// The descriptors that the program gets, as its 3, 4, 5… in this order. Besides those it inherits 0, 1 and 2.
    package var descriptors: [Int32]

    package init(
        title: String, arguments: [[UInt8]] = [], environment: ProcessEnvironment = .inherited,
        descriptors: [Int32] = []
    ) {
        self.title = title
        self.arguments = arguments
        self.environment = environment
        self.descriptors = descriptors
    }

    package init(
        executable: String, title: String, arguments: [String] = [], environment: ProcessEnvironment = .inherited,
        descriptors: [Int32] = []
    ) {
        self.init(
            title: title, arguments: arguments.map { Array($0.utf8) }, environment: environment,
            descriptors: descriptors)
        self.executable = executable
    }

    /// This process' own arguments without its `argv[0]`, byte for byte.
    package static var ownArguments: [[UInt8]] {
        let arguments = CommandLine.unsafeArgv
        return (1..<max(1, Int(CommandLine.argc))).compactMap { index in
            arguments[index].map {
                Array(UnsafeBufferPointer(start: $0, count: strlen($0)).map(UInt8.init(bitPattern:)))
            }
        }
    }

    /// This very program, even when its file has been replaced since.
    package static let ownExecutable = "/proc/self/exe"

    /// The number of the first of ``descriptors`` in the child.
    package static let firstDescriptor: Int32 = 3
}

/// Waits for children that this process has not started: the orphans that become a container's first process'
/// (or a subreaper's) children, and stay in the process table until somebody does.
package enum OrphanReaper {
    /// Waits for foreign children that have ended.
    ///
    /// To be called at each `SIGCHLD`, after each own child has been polled: the kernel shows one ended child at a
    /// time, and an own one that is not polled yet hides those behind it. It has its own `SIGCHLD` or descriptor event
    /// to come, after which this is called again, so none is forgotten.
    package static func reap(except own: Set<Int32>) -> Int {
        var count = 0
        while true {
            let pid = cmuster_peek_ended_child()
            guard pid > 0, !own.contains(pid), cmuster_reap(pid) else { return count }
            count += 1
        }
    }

    /// Makes the orphans among this process' descendants its children although it is not process 1.
    package static func becomeSubreaper() throws(SystemError) {
        let code = cmuster_become_subreaper()
        if code != 0 { throw SystemError("prctl(PR_SET_CHILD_SUBREAPER)", code: code) }
    }
}
