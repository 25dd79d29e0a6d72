// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterTestSupport

@testable import MusterSupervision

extension ChildProcess {
    /// Blocks the calling thread until the child has ended, and takes all news of it.
    ///
    /// - Returns: How it ended; -1 as its code when that has been taken before.
    func waitForEnd() -> ChildExit {
        var entry = pollfd(fd: descriptor?.rawValue ?? -1, events: Int16(POLLIN), revents: 0)
        while Glibc.poll(&entry, 1, -1) < 0 {}
        while let event = poll() {
            if case .exited(let end) = event { return end }
        }
        return ChildExit(termination: .exited(code: -1), cpuSeconds: 0)
    }

    /// Blocks the calling thread until there is news of a kind, which it leaves.
    func waitForNews(_ kind: Int32) {
        var information = siginfo_t()
        while waitid(P_PID, id_t(pid), &information, kind | Int32(WNOWAIT)) != 0, errno == EINTR {}
    }

    /// Starts a shell that runs a script.
    static func shell(
        _ script: String, _ arguments: [String] = [], environment: ProcessEnvironment = .inherited,
        descriptors: [Int32] = []
    ) throws -> ChildProcess {
        try spawn(
            SpawnRequest(
                executable: "/bin/sh", title: "sh", arguments: ["-c", script] + arguments, environment: environment,
                descriptors: descriptors))
    }
}

/// The open descriptors of this process.
func openDescriptors() -> Set<Int32> {
    guard let folder = opendir("/proc/self/fd") else { return [] }
    defer { closedir(folder) }
    var numbers: Set<Int32> = []
    while let entry = readdir(folder) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) {
            String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        if let number = Int32(name), number != dirfd(folder) { numbers.insert(number) }
    }
    return numbers
}

/// A file's text, of the kind whose size is not known before.
func text(of path: String) -> String {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return "" }
    defer { close(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = read(file, &buffer, buffer.count)
        guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
        bytes += buffer[..<count]
    }
}
