// SPDX-License-Identifier: Apache-2.0

/// The exit codes of the command line, as `docs/command-line.md` lists them.
public enum CommandExit: Int32, Hashable, Sendable, CaseIterable {
    /// All is well: live and ready, or nothing found that matters.
    case success = 0
    /// The service answers and is not live or not ready; or there are warnings, and those count.
    case unwell = 1
    /// There was no answer that could be used; or there are errors.
    case failure = 2
    /// The command line itself was wrong. (`sysexits.h`: `EX_USAGE`.)
    case usage = 64
}
