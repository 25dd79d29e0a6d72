// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
package import MusterPlatform

/// Ends a worker whose supervisor has died, however it died.
///
/// The kernel sends a worker a realtime signal when the supervisor's *thread* that started it ends. The signal's
/// handler asks for a graceful stop and arms a timer of the kernel's that ends the process soon, so that a worker that
/// hangs goes, too. The request is made before the parent is looked at: whenever the supervisor dies, one of the two
/// notices.
package enum ParentWatch {
    /// How long a worker has for a graceful stop once its supervisor has died.
    package static let grace = Duration.milliseconds(800)

    /// Begins to watch. To be called on the main thread: the request is that thread's and ends with it.
    ///
    /// - Parameters:
    ///   - supervisor: The number of the process that must be the parent.
    ///   - signal: What to tell those who handle signals, through the signal pipe, when the parent has died.
    ///   - grace: How long the process has to end by itself then.
    /// - Returns: `false` when the parent has died already; the process should end at once.
    /// - Throws: `SystemError` when the kernel refuses.
    package static func arm(
        supervisor: Int32, reporting signal: Int32 = SIGTERM, grace: Duration = ParentWatch.grace
    ) throws(SystemError) -> Bool {
        let code = cmuster_orphan_arm(signal, Int(max(1, grace.clampedNanoseconds / 1000)))
        if code != 0 { throw SystemError("prctl(PR_SET_PDEATHSIG)", code: code) }
        return getppid() == supervisor
    }
}
