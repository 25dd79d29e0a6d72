// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

/// The program of Swift's toolchain that writes backtraces of a crashing process.
///
/// A statically linked program brings the runtime's crash handler along, but not that program: it has to lie beside
/// the executable, or the toolchain has to be on the machine. A worker's name in the process list is not its path, so
/// that the runtime would not find it by itself.
enum BacktraceSupport {
    private static let names = ["swift-backtrace", "swift-backtrace-static"]
    /// All threads, without what only a debugger could use. `threads=all`, which should say the same, leaves all but
    /// the crashed one out in Swift 6.3.
    private static let options = "preset=full,registers=none,images=none,color=no,interactive=no,output-to=stderr"

    /// What the environment variable `SWIFT_BACKTRACE` of a worker should be.
    static var environmentValue: String {
        guard let path = helper, !path.contains(",") else { return options }
        return "\(options),swift-backtrace=\(path)"
    }

    /// The program's path: beside the executable, in `$SWIFT_ROOT`, or in the toolchain that `PATH` leads to.
    static var helper: String? {
        var folders: [String] = []
        if let folder = resolved("/proc/self/exe").map(parent) { folders.append(folder) }
        if let root = getenv("SWIFT_ROOT").map({ String(cString: $0) }), !root.isEmpty {
            folders.append("\(root)/libexec/swift/linux")
        }
        for folder in (getenv("PATH").map { String(cString: $0) } ?? "").split(separator: ":") {
            if let swift = resolved("\(folder)/swift") {
                folders.append("\(parent(parent(swift)))/libexec/swift/linux")
            }
        }
        for folder in folders {
            for name in names where access("\(folder)/\(name)", X_OK) == 0 { return "\(folder)/\(name)" }
        }
        return nil
    }

    private static func resolved(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    private static func parent(_ path: String) -> String {
        path.lastIndex(of: "/").map { String(path[..<$0]) } ?? path
    }
}
