// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Writes a line in one piece, so that those of several processes do not mix.
func say(_ line: String) {
    let bytes = Array("\(line)\n".utf8)
    _ = write(STDOUT_FILENO, bytes, bytes.count)
}
