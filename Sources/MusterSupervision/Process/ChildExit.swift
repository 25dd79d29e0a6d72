// SPDX-License-Identifier: Apache-2.0

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
