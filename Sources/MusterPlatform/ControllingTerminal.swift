// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc

/// What SIGHUP means to this process: the end of its terminal, or, for a daemon, a reload.
package struct ControllingTerminal: Sendable {
    private enum Position {
        /// There is no controlling terminal.
        case none
        case foreground
        case background
    }

    private let hadTerminal: Bool
    private let isProtected: Bool

    /// Remembers how the process was started; to be called before anyone handles SIGHUP.
    package init() {
        hadTerminal = Self.position != .none
        isProtected = cmuster_signal_is_ignored(SIGHUP)
    }

    /// Whether a SIGHUP that came just now ends the process as it would end any other: it runs in the foreground of its
    /// terminal, or its terminal is gone. Never for a process that was started by `nohup`.
    package var endsAtHangUp: Bool {
        guard !isProtected else { return false }
        return switch Self.position {
        case .foreground: true
        case .background: false
        case .none: hadTerminal
        }
    }

    private static var position: Position {
        let terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)
        guard terminal >= 0 else { return .none }
        defer { close(terminal) }
        return tcgetpgrp(terminal) == getpgrp() ? .foreground : .background
    }
}
