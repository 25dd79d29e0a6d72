// SPDX-License-Identifier: Apache-2.0

import CMuster
package import MusterPlatform

/// Waits for children that this process has not started: the orphans that become a container's first process'
/// (or a subreaper's) children, and stay in the process table until somebody does.
package enum OrphanReaper {
    /// Waits for foreign children that have ended.
    ///
    /// To be called at each `SIGCHLD`, after each own child has been polled: the kernel shows one ended child at a
    /// time, and an own one that is not polled yet hides those behind it. It has its own `SIGCHLD` or descriptor event
    /// to come, after which this is called again, so none is forgotten.
    ///
    /// - Parameter own: The numbers of the children that their ``ChildProcess`` waits for.
    /// - Returns: How many it waited for.
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
