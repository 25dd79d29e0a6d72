// SPDX-License-Identifier: Apache-2.0

import Glibc
public import Logging
import MusterEndpoint
import MusterHealth
import MusterLock
package import MusterPlatform
import MusterSupervision

/// Notifies systemd of the service's state, by the protocol of sd_notify(3).
///
/// Every method returns at once. Messages that find systemd's queue full are sent, in order, when there is room. The first
/// one that cannot be delivered for another reason is logged as a warning, further ones at the debug level: a service
/// never fails because of it.
public final class SystemdNotifier: Sendable {
    private struct State {
        /// Messages that wait for room.
        var pending: [SystemdMessage] = []
        var hasWarned = false
    }

    /// How many messages wait at most: more would tell of states long gone.
    private static let longestQueue = 64

    /// How often to call ``watchdog()``: half of systemd's watchdog timeout; `nil` when it does not watch this process.
    package let watchdogInterval: Duration?

    private let address: SystemdAddress
    private let logger: Logger
    private let state = Locked(State())

    /// Finds systemd by the environment variable `NOTIFY_SOCKET`; `nil` when that is not set, or not an address.
    public convenience init?(logger: Logger = Logger(label: "muster.systemd")) {
        self.init(environment: { getenv($0).map { String(cString: $0) } }, logger: logger)
    }

    /// - Parameters:
    ///   - environment: Gives a variable's value: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` are read.
    ///   - processID: The process that systemd's watchdog must mean; the calling one when `nil`.
    package init?(
        environment: (String) -> String?, processID: Int32? = nil, logger: Logger = Logger(label: "muster.systemd")
    ) {
        guard let value = environment("NOTIFY_SOCKET"), !value.isEmpty else { return nil }
        guard let address = SystemdAddress(value) else {
            logger.warning(
                "cannot notify systemd: NOTIFY_SOCKET is not an absolute path or abstract name (@…)",
                metadata: ["value": "\(value)"])
            return nil
        }
        self.address = address
        self.logger = logger
        watchdogInterval = Self.watchdogInterval(environment, processID: processID ?? getpid())
    }

    /// Sends a message of your own.
    ///
    /// - Parameter assignments: One assignment a line, as sd_notify(3) has them, for example
    ///   `EXTEND_TIMEOUT_USEC=5000000`.
    public func send(_ assignments: String) {
        send(SystemdMessage(assignments))
    }

    package func send(_ message: SystemdMessage) {
        let mustWait = state.withLock { state in
            guard !state.pending.isEmpty else { return false }
            if state.pending.count < Self.longestQueue, message != .watchdog { state.pending.append(message) }
            return true
        }
        if mustWait { return }
        guard let error = deliver(message) else { return }
        guard error.code == EAGAIN else { return failed(message, error) }
        state.withLock { $0.pending.append(message) }
        EventLoop.auxiliary.submit { [self] in sendPendingWhenWritable() }
    }

    private func failed(_ message: SystemdMessage, _ error: SystemError) {
        let isFirst = state.withLock { state in
            defer { state.hasWarned = true }
            return !state.hasWarned
        }
        logger.log(
            level: isFirst ? .warning : .debug,
            "cannot notify systemd: it will not know when the service is ready",
            metadata: ["message": "\(message)", "error": "\(error)"])
    }

    private func sendPendingWhenWritable() {
        do {
            let socket = try connectedSocket()
            let watch = Locked<EventLoop.Watch?>(nil)
            let loop = EventLoop.auxiliary
            let made = try loop.watch(socket.rawValue, for: .writable) { [self] _ in
                // The socket lives as long as this closure.
                guard sendPending(to: socket) else { return }
                if let watch = watch.withLock({ $0.take() }) { loop.unwatch(watch) }
            }
            watch.withLock { $0 = made }
        } catch {
            let message = state.withLock { state in
                defer { state.pending = [] }
                return state.pending.first
            }
            logger.warning(
                "cannot notify systemd", metadata: ["message": "\(message?.description ?? "")", "error": "\(error)"])
        }
    }

    /// Returns whether nothing is left.
    private func sendPending(to socket: OwnedDescriptor) -> Bool {
        while let message = state.withLock({ $0.pending.first }) {
            let bytes = Array(message.description.utf8)
            if Glibc.send(socket.rawValue, bytes, bytes.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)) < 0 {
                if errno == EAGAIN || errno == EINTR { return false }
                failed(message, SystemError("send"))
            }
            // Taken out only now, so that later messages stay behind it.
            state.withLock { _ = $0.pending.removeFirst() }
        }
        return true
    }

    /// Reports that the service has started or has reloaded. A `nil` status keeps the previous one.
    public func ready(status: String? = nil) {
        send(.ready, status)
    }

    /// Reports a reload; ``ready(status:)`` must follow.
    package func reloading(at now: MonotonicInstant = .now, status: String? = nil) {
        send(.reloading(at: now), status)
    }

    /// Reports that the service is stopping.
    package func stopping(status: String? = nil) {
        send(.stopping, status)
    }

    /// Sets the status line of `systemctl status`; see `SystemdMessage/status(_:)`.
    public func status(_ text: String) {
        send(.status(text))
    }

    /// Names the service's main process.
    package func mainProcess(_ pid: Int32) {
        send(.mainProcess(pid))
    }

    /// Reports that the service is alive; to be called every ``watchdogInterval``.
    package func watchdog() {
        send(.watchdog)
    }

    private func send(_ message: SystemdMessage, _ status: String?) {
        send(status.map { message + .status($0) } ?? message)
    }

    /// Opens a socket for each message: messages are rare.
    private func deliver(_ message: SystemdMessage) -> SystemError? {
        do throws(SystemError) {
            let socket = try openSocket()
            let bytes = Array(message.description.utf8)
            return address.withSocketAddress { address, length in
                // A full queue, as that of a stopped systemd, must not delay the service.
                let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
                let count = sendto(socket.rawValue, bytes, bytes.count, flags, address, length)
                return count == bytes.count ? nil : SystemError("sendto")
            }
        } catch {
            return error
        }
    }

    private func openSocket() throws(SystemError) -> OwnedDescriptor {
        let socket = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { throw SystemError("socket") }
        return OwnedDescriptor(socket)
    }

    /// A socket that becomes writable when the receiver has room.
    private func connectedSocket() throws(SystemError) -> OwnedDescriptor {
        let socket = try openSocket()
        let error = address.withSocketAddress { address, length in
            connect(socket.rawValue, address, length) == 0 ? nil : SystemError("connect")
        }
        if let error { throw error }
        return socket
    }

    private static func watchdogInterval(_ environment: (String) -> String?, processID: Int32) -> Duration? {
        guard let text = environment("WATCHDOG_USEC"), let microseconds = Int64(text), microseconds > 0 else {
            return nil
        }
        if let pid = environment("WATCHDOG_PID"), Int32(pid) != processID { return nil }
        return .microseconds(microseconds) / 2
    }
}

/// Where systemd listens for messages: a path, or with `@` in front a name in the abstract namespace.
struct SystemdAddress: Hashable, Sendable {
    /// The bytes of `sun_path`; an abstract name begins with a zero byte.
    let path: [UInt8]

    /// Reads the value of `NOTIFY_SOCKET`.
    ///
    /// - Parameter text: The value; `nil` is returned for one that is no address of a Unix socket.
    init?(_ text: String) {
        var path = Array(text.utf8)
        // A path needs a zero byte behind it; an abstract name ends with the address' length.
        let room = UnixSocketAddress.capacity
        guard let first = path.first, !path.contains(0) else { return nil }
        switch first {
        case UInt8(ascii: "/") where path.count < room: break
        case UInt8(ascii: "@") where path.count > 1 && path.count <= room: path[0] = 0
        default: return nil
        }
        self.path = path
    }

    /// Hands out the address as the kernel wants it.
    func withSocketAddress<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        UnixSocketAddress.with(path, body)
    }
}

/// A message of sd_notify(3): one assignment a line.
///
/// Messages can be joined, as in `SystemdMessage.ready + .status("serving")`.
package struct SystemdMessage: Hashable, Sendable, CustomStringConvertible {
    /// The longest status text in bytes of UTF-8; a longer one is cut.
    package static let maximumStatusBytes = 512

    /// The assignments, with line feeds between them.
    package let description: String

    fileprivate init(_ text: String) {
        description = text
    }

    /// The service has started or has reloaded.
    package static let ready = SystemdMessage("READY=1")

    /// The service is stopping.
    package static let stopping = SystemdMessage("STOPPING=1")

    /// The service is alive; expected once in every `WatchdogSec=`.
    package static let watchdog = SystemdMessage("WATCHDOG=1")

    /// The service reloads; ``ready`` must follow.
    ///
    /// `Type=notify-reload` (systemd 253) requires the instant, which distinguishes this reload from the previous one.
    ///
    /// - Parameter now: The present instant, not before the one of the request.
    package static func reloading(at now: MonotonicInstant) -> SystemdMessage {
        SystemdMessage("RELOADING=1\nMONOTONIC_USEC=\(max(now.nanoseconds, 0) / 1000)")
    }

    /// The status line of `systemctl status`.
    ///
    /// - Parameter text: The line; line breaks and other control characters become spaces, and the end of a long
    ///   text is cut. An empty one takes the line away.
    package static func status(_ text: String) -> SystemdMessage {
        var line = ""
        for character in text {
            let shown: Character = character.unicodeScalars.first?.isControl == true ? " " : character
            guard line.utf8.count + String(shown).utf8.count <= maximumStatusBytes else { break }
            line.append(shown)
        }
        return SystemdMessage("STATUS=\(line)")
    }

    /// The service's main process, where systemd did not start it itself.
    package static func mainProcess(_ pid: Int32) -> SystemdMessage {
        SystemdMessage("MAINPID=\(pid)")
    }

    /// Joins two messages into one.
    package static func + (first: SystemdMessage, second: SystemdMessage) -> SystemdMessage {
        SystemdMessage(first.description + "\n" + second.description)
    }
}

/// Sends watchdog notifications at half of systemd's timeout, as long as the program is live.
final class SystemdWatchdog: Sendable {
    private let notifier: SystemdNotifier
    private let health: HealthRegistry
    private let logger: Logger
    private let isOver = Locked(false)

    init(notifier: SystemdNotifier, health: HealthRegistry, logger: Logger) {
        self.notifier = notifier
        self.health = health
        self.logger = logger
    }

    /// Begins, if systemd expects notifications, on the loop's thread.
    func begin(on loop: EventLoop) {
        guard let interval = notifier.watchdogInterval else { return }
        loop.submit { [self] in feed(every: interval, on: loop) }
    }

    /// Ends: from here on, the service manager's stop timeout applies.
    func end() {
        isOver.withLock { $0 = true }
    }

    private func feed(every interval: Duration, on loop: EventLoop) {
        if isOver.withLock({ $0 }) { return }
        health.evaluate(.live, on: loop) { [self] report in
            if report.isPassing {
                notifier.watchdog()
            } else {
                logger.error("program is not live; withholding the systemd watchdog notification")
            }
        }
        loop.schedule(at: .now.advanced(by: interval)) { [weak self] in self?.feed(every: interval, on: loop) }
    }
}

/// Reports the supervisor's state to systemd: ready once every worker is, reloading, stopping, the status line, and the
/// watchdog while the program is live. Belongs to the supervisor's thread.
///
/// Sound as `@unchecked Sendable`: used on the supervisor's thread only, after its creation.
final class ServiceManagerLink: @unchecked Sendable {
    private let notifier: SystemdNotifier?
    private let watchdog: SystemdWatchdog?
    private var isReady = false
    private var isReloading = false
    private var status = ""

    init(health: HealthRegistry, logger: Logger) {
        let notifier = SystemdNotifier(logger: logger)
        self.notifier = notifier
        watchdog = notifier.map { SystemdWatchdog(notifier: $0, health: health, logger: logger) }
    }

    /// Begins the watchdog notifications.
    func watch(_ supervisor: Supervisor) {
        watchdog?.begin(on: supervisor.loop)
    }

    func record(_ notice: SupervisorNotice, _ supervisor: Supervisor) {
        guard let notifier else { return }
        switch notice {
        case .reloadBegan:
            isReloading = true
            notifier.reloading()
        case .reloadEnded, .resetEnded:
            // Also after a refused reload: systemd waits for it.
            if !isReloading { notifier.reloading() }
            isReloading = false
            notifier.ready(status: line(supervisor, isReloading: false))
        case .shutdownBegan, .halted:
            notifier.stopping()
        default: break
        }
    }

    func update(_ supervisor: Supervisor) {
        guard let notifier else { return }
        let line = line(supervisor)
        if !isReady, supervisor.isEveryWorkerReady {
            isReady = true
            status = line
            notifier.mainProcess(getpid())
            notifier.ready(status: line)
        } else if line != status {
            status = line
            notifier.status(line)
        }
    }

    private func line(_ supervisor: Supervisor, isReloading: Bool? = nil) -> String {
        let snapshot = supervisor.report.snapshot
        let parts = snapshot.groups.map { group in
            let ready = group.slots.count { $0.state == .ready }
            let restarts = group.slots.reduce(0) { $0 + $1.restartsByReason.total }
            return "\(group.configuration.name): \(ready) of \(group.workers) workers ready, \(restarts) restarts"
        }
        let prefix =
            switch snapshot.phase {
            case .running: isReloading ?? snapshot.isReloading ? "Reloading; " : ""
            case .stopping, .halting: "Stopping; "
            case .finished: "Stopped; "
            }
        return prefix + parts.joined(separator: "; ")
    }
}
