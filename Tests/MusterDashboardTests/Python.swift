// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport

/// The Python that has promql-parser.
enum Python {
    static let interpreter: String = {
        if let named = ProcessInfo.processInfo.environment["MUSTER_PYTHON"],
            FileManager.default.isExecutableFile(atPath: named)
        {
            return named
        }
        return find("python3") ?? "/usr/bin/python3"
    }()

    static let hasParser: Bool = {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: interpreter)
        process.arguments = ["-c", "import promql_parser"]
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }()
}
