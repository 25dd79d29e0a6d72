// SPDX-License-Identifier: Apache-2.0

import CMusterBench

/// What the program writes to.
enum StandardOutput {
    /// Makes each line appear as soon as it is complete, also in a file or a pipe.
    static func lineBuffered() {
        cmusterbench_line_buffer_output()
    }
}
