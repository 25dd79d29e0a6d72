// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster

/// Where the items are: a folder that the user names, or one that is made for the run and removed at its end.
struct DataFolder: Sendable {
    /// By which the supervisor tells its workers of the folder that it has made.
    private static let variable = "MUSTER_DEMO_DATA"

    let path: String
    private let isOurs: Bool

    /// Finds or makes the folder.
    ///
    /// - Parameter named: The folder that the user names.
    /// - Throws: `SystemError`.
    init(named: String?) throws {
        if let named {
            path = named
            isOurs = false
        } else if Worker.isWorkerProcess, let inherited = getenv(Self.variable) {
            path = String(cString: inherited)
            isOurs = false
        } else {
            let root = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
            var template = Array("\(root)/muster-demo-XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else { throw SystemError("mkdtemp in \(root)") }
            path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            isOurs = true
            setenv(Self.variable, path, 1)
        }
    }

    /// Removes what was made for the run.
    func remove() {
        guard isOurs else { return }
        Self.remove(path)
    }

    private static func remove(_ folder: String) {
        guard let directory = opendir(folder) else { return }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name == "." || name == ".." { continue }
            if unlink("\(folder)/\(name)") != 0 { remove("\(folder)/\(name)") }
        }
        closedir(directory)
        rmdir(folder)
    }
}
