// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import MusterSupervision

/// The environment of a worker: the supervisor's, made fit for a process that somebody watches.
enum WorkerEnvironment {
    /// Makes it.
    static func make() -> ProcessEnvironment {
        var environment = ProcessEnvironment.inherited
        // Sockets of systemd are handed on by the supervisor, and only the supervisor speaks for the service.
        for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            environment[name] = nil
        }
        if environment["SWIFT_BACKTRACE"] == nil { environment["SWIFT_BACKTRACE"] = BacktraceSupport.environmentValue }
        return environment
    }
}
