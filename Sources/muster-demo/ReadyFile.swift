// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster

/// What a program that has started the demo wants to know.
struct ReadyFile {
    let pid: Int32
    let http: String
    let endpoint: String

    /// Writes the file under another name first, so that nobody reads half of it.
    ///
    /// - Parameter path: The file's path.
    /// - Throws: `SystemError`.
    func write(to path: String) throws {
        let text = "{\"pid\": \(pid), \"http\": \"\(http)\", \"endpoint\": \"\(endpoint)\"}\n"
        let temporary = "\(path).\(pid).tmp"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw SystemError("open \(temporary)") }
        var bytes = Array(text.utf8)
        let count = Glibc.write(descriptor, &bytes, bytes.count)
        close(descriptor)
        guard count == bytes.count, rename(temporary, path) == 0 else {
            let error = SystemError("write \(path)")
            unlink(temporary)
            throw error
        }
    }
}
