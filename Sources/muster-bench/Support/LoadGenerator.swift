// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Glibc

/// The HTTP load generator `wrk`, with one thread.
enum LoadGenerator {
    struct Outcome {
        var requestsPerSecond: Double
        /// In nanoseconds.
        var medianTime: Double
    }

    static func requireInstalled() throws {
        guard (try? output(["wrk", "-v"])) != nil else {
            throw BenchmarkSkipped("it needs the load generator wrk (Debian's package of that name)")
        }
    }

    /// Asks one URL again and again.
    ///
    /// - Parameters:
    ///   - url: What to ask for.
    ///   - seconds: For how long.
    ///   - connections: How many requests are under way at once.
    ///   - compressed: Whether to accept a compressed answer.
    /// - Returns: What it has measured.
    static func run(
        url: String, seconds: Int, connections: Int = 8, compressed: Bool = false
    ) throws -> Outcome {
        let header = compressed ? ["-H", "Accept-Encoding: gzip"] : []
        let text = try output(["wrk", "-t1", "-c\(connections)", "-d\(seconds)", "--latency"] + header + [url])
        guard !text.contains("Non-2xx"), !text.contains("Socket errors") else {
            throw BenchmarkError("wrk had errors: \(text)")
        }
        var outcome = Outcome(requestsPerSecond: 0, medianTime: 0)
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.first == "Requests/sec:", words.count > 1 { outcome.requestsPerSecond = Double(words[1]) ?? 0 }
            if words.first == "50%", words.count > 1 { outcome.medianTime = nanoseconds(words[1]) ?? 0 }
        }
        guard outcome.requestsPerSecond > 0, outcome.medianTime > 0 else {
            throw BenchmarkError("wrk wrote something else than expected: \(text)")
        }
        return outcome
    }

    private static func nanoseconds(_ text: Substring) -> Double? {
        for (unit, scale) in [("us", 1e3), ("ms", 1e6), ("s", 1e9)] where text.hasSuffix(unit) {
            return Double(text.dropLast(unit.count)).map { $0 * scale }
        }
        return nil
    }

    /// Runs a program to its end and returns what it wrote to its standard output.
    private static func output(_ command: [String]) throws -> String {
        var ends: [Int32] = [0, 0]
        guard cmusterbench_pipe(&ends) else { throw BenchmarkError("no pipe for \(command[0]): errno \(errno)") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
        var arguments = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, command[0], &actions, nil, &arguments, environ)
        close(ends[1])
        defer { close(ends[0]) }
        guard code == 0 else { throw BenchmarkError("\(command[0]) could not be started: errno \(code)") }
        let text = SystemFile.read(from: ends[0], limit: 1 << 20)
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        return text
    }
}
