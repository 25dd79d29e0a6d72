// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport

/// A web config file of a test, in a folder of its own.
final class WebConfigFolder {
    let folder: TemporaryFolder
    let file: String

    /// Writes a file.
    init(_ text: String) throws {
        folder = try TemporaryFolder()
        file = folder.path("web.yml")
        try write(text)
    }

    /// Writes the file anew, in one step.
    func write(_ text: String) throws {
        _ = try folder.write(text, to: "web.yml")
    }

    /// The header that sends a name and a password.
    static func login(_ user: String, _ password: String) -> String {
        "Authorization: Basic " + Data("\(user):\(password)".utf8).base64EncodedString()
    }
}

extension TemporaryFolder {
    /// Removes a file.
    func remove(_ name: String) throws {
        try FileManager.default.removeItem(atPath: path(name))
    }

    /// Makes a symbolic link, or turns one to another file, in one step.
    func link(_ name: String, to target: String) throws {
        try FileManager.default.createSymbolicLink(atPath: path(name + ".new"), withDestinationPath: target)
        guard rename(path(name + ".new"), path(name)) == 0 else { throw CocoaError(.fileWriteUnknown) }
    }
}
