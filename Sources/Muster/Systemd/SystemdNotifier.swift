// SPDX-License-Identifier: Apache-2.0

import Glibc
public import Logging
public import MusterPlatform

/// Tells systemd how the service fares, by the protocol of sd_notify(3).
///
/// Every method returns at once. A message that cannot be delivered is logged at the debug level and forgotten: a
/// service never fails because nobody listens. oslo.service sends `READY=1` only (`systemd.notify`).
public final class SystemdNotifier: Sendable {
    /// How often ``watchdog()`` is to be called: half of the time after which systemd takes the service for hung;
    /// `nil` when systemd does not watch this process.
    public let watchdogInterval: Duration?

    private let address: SystemdAddress
    private let logger: Logger

    /// Looks for systemd in the environment.
    ///
    /// - Parameters:
    ///   - environment: Gives a variable's value: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` are asked for.
    ///   - processID: The process that systemd's watchdog must mean; the calling one when `nil`.
    ///   - logger: Where failures are logged.
    /// - Returns: `nil` when the service was not started with `NOTIFY_SOCKET` set, or its value is no address.
    public init?(
        environment: (String) -> String? = SystemdNotifier.processEnvironment, processID: Int32? = nil,
        logger: Logger = Logger(label: "muster.systemd")
    ) {
        guard let value = environment("NOTIFY_SOCKET"), !value.isEmpty else { return nil }
        guard let address = SystemdAddress(value) else {
            logger.debug(
                "systemd is not told anything: NOTIFY_SOCKET must be an absolute path or begin with @",
                metadata: ["value": "\(value)"])
            return nil
        }
        self.address = address
        self.logger = logger
        watchdogInterval = Self.watchdogInterval(environment, processID: processID ?? getpid())
    }

    /// Sends a message made by the caller.
    ///
    /// - Parameter message: The message.
    public func send(_ message: SystemdMessage) {
        if let error = deliver(Array(message.description.utf8)) {
            logger.debug(
                "systemd was not notified", metadata: ["message": "\(message)", "error": "\(error)"])
        }
    }

    /// Says that the service has started, or has taken up its new settings.
    ///
    /// - Parameter status: One line for people; the former one stays when `nil`.
    public func ready(status: String? = nil) {
        send(.ready, status)
    }

    /// Says that the service takes up new settings; ``ready(status:)`` must follow.
    ///
    /// - Parameters:
    ///   - now: The present instant.
    ///   - status: One line for people; the former one stays when `nil`.
    public func reloading(at now: MonotonicInstant = .now, status: String? = nil) {
        send(.reloading(at: now), status)
    }

    /// Says that the service is stopping.
    ///
    /// - Parameter status: One line for people; the former one stays when `nil`.
    public func stopping(status: String? = nil) {
        send(.stopping, status)
    }

    /// Shows one line for people in `systemctl status`.
    ///
    /// - Parameter text: The line; see ``SystemdMessage/status(_:)``.
    public func status(_ text: String) {
        send(.status(text))
    }

    /// Names the service's main process.
    ///
    /// - Parameter pid: The process.
    public func mainProcess(_ pid: Int32) {
        send(.mainProcess(pid))
    }

    /// Says that the service is alive, to be called every ``watchdogInterval``.
    public func watchdog() {
        send(.watchdog)
    }

    /// A variable of the process' environment.
    ///
    /// - Parameter name: The variable's name.
    /// - Returns: Its value; `nil` when it is not set.
    public static func processEnvironment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }

    private func send(_ message: SystemdMessage, _ status: String?) {
        send(status.map { message + .status($0) } ?? message)
    }

    /// A socket for each message: they are rare, and none is kept open for it.
    private func deliver(_ bytes: [UInt8]) -> SystemError? {
        let socket = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return SystemError("socket") }
        defer { close(socket) }
        return address.withSocketAddress { address, length in
            // A queue that is full, as that of a stopped systemd, must not hold up the service.
            let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
            let count = sendto(socket, bytes, bytes.count, flags, address, length)
            return count == bytes.count ? nil : SystemError("sendto")
        }
    }

    private static func watchdogInterval(_ environment: (String) -> String?, processID: Int32) -> Duration? {
        guard let text = environment("WATCHDOG_USEC"), let microseconds = Int64(text), microseconds > 0 else {
            return nil
        }
        if let pid = environment("WATCHDOG_PID"), Int32(pid) != processID { return nil }
        return .microseconds(microseconds) / 2
    }
}
