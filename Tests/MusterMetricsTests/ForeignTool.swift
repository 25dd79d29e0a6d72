// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

/// Runs a program of the system on a text and keeps what it says.
enum ForeignTool {
    struct Result {
        var status: Int32
        var output: String
    }

    /// Finds a program on the search path.
    static func find(_ name: String) -> String? {
        if name.contains("/") { return access(name, X_OK) == 0 ? name : nil }
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
        return path.split(separator: ":").map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }

    /// Runs a program to its end.
    ///
    /// - Parameters:
    ///   - program: The program's path.
    ///   - arguments: What stands behind its name.
    ///   - input: What it reads.
    /// - Returns: How it ended (-1 for a signal) and all it wrote.
    static func run(_ program: String, _ arguments: [String], input: [UInt8]) throws -> Result {
        let source = try temporaryFile()
        var written = 0
        while written < input.count {
            let count = input[written...].withUnsafeBytes { write(source.rawValue, $0.baseAddress, $0.count) }
            guard count > 0 else { throw SystemError("write") }
            written += count
        }
        lseek(source.rawValue, 0, SEEK_SET)
        return try run(program, arguments, standardInput: source)
    }

    /// Runs a program to its end with a file as its standard input.
    static func run(_ program: String, _ arguments: [String], standardInput: OwnedDescriptor) throws -> Result {
        // Files rather than pipes: neither side ever waits for the other.
        let sink = try temporaryFile()
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, standardInput.rawValue, 0)
        posix_spawn_file_actions_adddup2(&actions, sink.rawValue, 1)
        posix_spawn_file_actions_adddup2(&actions, sink.rawValue, 2)
        var strings = ([program] + arguments).map { strdup($0) }
        strings.append(nil)
        defer { for string in strings { free(string) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, program, &actions, nil, strings, environ)
        guard code == 0 else { throw SystemError("posix_spawn", code: code) }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) == -1, errno == EINTR {}
        lseek(sink.rawValue, 0, SEEK_SET)
        var output: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while case let count = read(sink.rawValue, &chunk, chunk.count), count > 0 { output += chunk[..<count] }
        return Result(
            status: status & 0x7f == 0 ? (status >> 8) & 0xff : -1, output: String(decoding: output, as: UTF8.self))
    }

    private static func temporaryFile() throws -> OwnedDescriptor {
        var path = Array("/tmp/muster-test-XXXXXX".utf8CString)
        let descriptor = mkstemp(&path)
        guard descriptor >= 0 else { throw SystemError("mkstemp") }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        unlink(path)
        return OwnedDescriptor(descriptor)
    }
}
