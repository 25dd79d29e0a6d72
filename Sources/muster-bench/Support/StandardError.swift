// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What goes wrong in processes that the benchmark starts.
enum StandardError {
    static func print(_ text: String) {
        let bytes = Array((text + "\n").utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}
