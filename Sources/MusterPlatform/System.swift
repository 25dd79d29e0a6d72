// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A system call that failed.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was tried, for example `epoll_create1`.
    package let operation: String
    /// The value of `errno`.
    package let code: Int32

    package init(_ operation: String, code: Int32) {
        self.operation = operation
        self.code = code
    }

    /// Creates the error from the calling thread's `errno`.
    package init(_ operation: String) {
        self.init(operation, code: errno)
    }

    /// What was tried, the system's text for the reason and, where a limit of the process may be the cause, which.
    public var description: String {
        let text = "\(operation): \(String(cString: strerror(code))) (errno \(code))"
        return ResourceLimit.behind(code, operation).map { "\(text); \($0)" } ?? text
    }
}

/// A limit of the process, `ulimit` in a shell and `Limit…=` in a unit of systemd.
private struct ResourceLimit {
    let name: String
    let option: String
    let resource: __rlimit_resource
    let unit: String

    private static let processes = ["posix_spawn", "pthread_create"]

    private static let memory = [
        ResourceLimit(name: "RLIMIT_DATA", option: "d", resource: RLIMIT_DATA, unit: "bytes of data"),
        ResourceLimit(name: "RLIMIT_AS", option: "v", resource: RLIMIT_AS, unit: "bytes of addresses"),
    ]

    private static let all: [(code: Int32, limits: [ResourceLimit])] = [
        (EMFILE, [ResourceLimit(name: "RLIMIT_NOFILE", option: "n", resource: RLIMIT_NOFILE, unit: "descriptors")]),
        (EFBIG, [ResourceLimit(name: "RLIMIT_FSIZE", option: "f", resource: RLIMIT_FSIZE, unit: "bytes a file")]),
        // A thread's stack is memory, too.
        (
            EAGAIN,
            memory + [
                ResourceLimit(
                    name: "RLIMIT_NPROC", option: "u", resource: __RLIMIT_NPROC, unit: "threads of the user")
            ]
        ),
        (ENOMEM, memory),
    ]

    /// The limits that a call may have met, where they are set.
    static func behind(_ code: Int32, _ operation: String) -> String? {
        // What a socket says that has nothing to read, too.
        if code == EAGAIN, !processes.contains(where: operation.hasPrefix) { return nil }
        let limits = all.first { $0.code == code }?.limits.compactMap(\.text) ?? []
        return limits.isEmpty ? nil : "raise " + limits.joined(separator: " or ")
    }

    private var text: String? {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0, limit.rlim_cur != rlim_t.max else {
            return nil
        }
        return "\(name) (ulimit -\(option)), which is \(limit.rlim_cur) \(unit)"
    }
}

/// A file descriptor that is closed with its last reference.
package final class OwnedDescriptor: Sendable {
    /// The descriptor's number.
    package let rawValue: Int32

    /// Takes ownership of an open descriptor.
    package init(_ rawValue: Int32) {
        self.rawValue = rawValue
    }

    deinit {
        close(rawValue)
    }
}

extension OwnedDescriptor: Hashable {
    package static func == (lhs: OwnedDescriptor, rhs: OwnedDescriptor) -> Bool { lhs.rawValue == rhs.rawValue }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(rawValue)
    }
}

/// A signal.
public struct UnixSignal: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The signal's number.
    public let rawValue: Int32

    /// Creates a signal from its number.
    public init(rawValue: Int32) {
        self.rawValue = rawValue
    }

    /// Creates a signal from its name.
    ///
    /// - Parameter name: The name, for example `SIGTERM`; `nil` is returned for a name this system does not have.
    package init?(name: String) {
        guard let number = Self.numbers[name] else { return nil }
        self.init(rawValue: number)
    }

    /// Requests a graceful shutdown.
    public static let terminate = UnixSignal(rawValue: SIGTERM)
    /// Requests an immediate shutdown (Ctrl-C).
    public static let interrupt = UnixSignal(rawValue: SIGINT)
    /// Requests a reload.
    public static let hangUp = UnixSignal(rawValue: SIGHUP)
    /// Free for the application's use.
    public static let user1 = UnixSignal(rawValue: SIGUSR1)
    /// Free for the application's use.
    package static let user2 = UnixSignal(rawValue: SIGUSR2)

    /// The name, for example `SIGTERM`.
    public var description: String {
        Self.numbers.first { $0.value == rawValue }?.key ?? "signal \(rawValue)"
    }

    private static let numbers: [String: Int32] = [
        "SIGHUP": SIGHUP, "SIGINT": SIGINT, "SIGQUIT": SIGQUIT, "SIGILL": SIGILL, "SIGTRAP": SIGTRAP,
        "SIGABRT": SIGABRT, "SIGBUS": SIGBUS, "SIGFPE": SIGFPE, "SIGKILL": SIGKILL, "SIGUSR1": SIGUSR1,
        "SIGSEGV": SIGSEGV, "SIGUSR2": SIGUSR2, "SIGPIPE": SIGPIPE, "SIGALRM": SIGALRM, "SIGTERM": SIGTERM,
        "SIGCHLD": SIGCHLD, "SIGCONT": SIGCONT, "SIGSTOP": SIGSTOP, "SIGTSTP": SIGTSTP, "SIGTTIN": SIGTTIN,
        "SIGTTOU": SIGTTOU, "SIGURG": SIGURG, "SIGXCPU": SIGXCPU, "SIGXFSZ": SIGXFSZ, "SIGVTALRM": SIGVTALRM,
        "SIGPROF": SIGPROF, "SIGWINCH": SIGWINCH, "SIGIO": SIGIO, "SIGPWR": SIGPWR, "SIGSYS": SIGSYS,
    ]
}
