// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

/// What a supervisor needs of the system around it.
package enum Surroundings {
    /// Why workers can never be started, with the remedy; `nil` when nothing speaks against it.
    package static var obstacle: String? {
        guard let program = SmallFile.target(of: "/proc/self/exe") else {
            return "cannot start workers: /proc/self/exe cannot be read; mount /proc"
        }
        let name = program.split(separator: "/").last ?? ""
        guard name.hasPrefix("ld-"), name.contains(".so") else { return nil }
        return """
            cannot start workers: this process runs the dynamic linker (\(program)), which would be started in the \
            program's place; start the program itself
            """
    }

    /// What works, but not as well as it could.
    package static var warnings: [String] {
        var warnings: [String] = []
        if let error = ChildProcess.descriptorsMissing {
            warnings.append(
                """
                processes cannot be watched by descriptors (\(error)); using SIGCHLD and kill(2): allow pidfd_open and \
                pidfd_send_signal in the seccomp profile
                """)
        }
        if OutOfMemoryCounter.killsWholeGroup() {
            warnings.append(
                """
                memory.oom.group is set: the kernel will kill all processes of this control group together, so that a \
                worker without memory ends the whole program (on Kubernetes: singleProcessOOMKill in the kubelet's \
                configuration)
                """)
        }
        return warnings
    }
}
