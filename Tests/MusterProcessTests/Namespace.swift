// SPDX-License-Identifier: Apache-2.0

import Foundation

/// A namespace of processes, in which a program is process 1.
enum Namespace {
    /// What a command is put behind to run in one.
    static let wrapper = ["/usr/bin/unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

    /// Whether it may be made.
    static let isPermitted: Bool = {
        guard
            let program = try? Process.run(
                URL(fileURLWithPath: wrapper[0]), arguments: wrapper.dropFirst() + ["/bin/true"])
        else { return false }
        program.waitUntilExit()
        return program.terminationStatus == 0
    }()
}
