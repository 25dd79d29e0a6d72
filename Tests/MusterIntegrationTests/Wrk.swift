// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

/// The load generator wrk, which asks for one page as fast as it is answered.
final class Wrk: Sendable {
    /// What it has seen.
    struct Report: CustomStringConvertible {
        let requests: Int
        let connectErrors: Int
        let readErrors: Int
        let writeErrors: Int
        let timeouts: Int
        /// Answers with a status other than 2xx or 3xx.
        let refusals: Int
        let median: String
        let p99: String

        var failures: Int { connectErrors + readErrors + writeErrors + timeouts + refusals }

        var description: String {
            "\(requests) requests, median \(median), p99 \(p99); errors: connect \(connectErrors), "
                + "read \(readErrors), write \(writeErrors), timeout \(timeouts), status \(refusals)"
        }
    }

    static let binary = find("wrk")
    static var isInstalled: Bool { binary != nil }

    private let program: Program

    /// Begins. It goes on until it is asked for its report.
    init(_ url: String, connections: Int, headers: [String] = []) throws {
        program = try Program(
            try #require(Wrk.binary),
            ["-t1", "-c\(connections)", "-d600s", "--latency"] + headers.flatMap { ["-H", $0] } + [url])
    }

    /// Ends it, and returns what it has seen.
    func report() async throws -> Report {
        kill(program.pid, SIGINT)
        let status = try await program.status()
        let text = program.output
        guard status == 0, let requests = text.firstMatch(of: /(\d+) requests in/) else {
            throw Program.Ended(description: "wrk ended with \(status):\n\(text)\n\(program.errors)")
        }
        let errors = text.firstMatch(of: /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/)
        func number(_ text: Substring?) -> Int { text.flatMap { Int($0) } ?? 0 }
        return Report(
            requests: number(requests.1), connectErrors: number(errors?.1), readErrors: number(errors?.2),
            writeErrors: number(errors?.3), timeouts: number(errors?.4),
            refusals: number(text.firstMatch(of: /Non-2xx or 3xx responses: (\d+)/)?.1),
            median: text.firstMatch(of: /50%\s+(\S+)/).map { String($0.1) } ?? "?",
            p99: text.firstMatch(of: /99%\s+(\S+)/).map { String($0.1) } ?? "?")
    }
}
