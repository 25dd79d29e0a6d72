// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterPlatform
import MusterTestSupport
import Testing

@Suite("Where a supervised program listens", .transcript, .timeLimit(.minutes(10)))
struct ListeningTests {
    @Test("a free port of either version of IP, in all workers", arguments: ["127.0.0.1", "[::1]"], backends)
    func free(host: String, backend: String) async throws {
        let options = ["--workers=2", "--socket=\(host):0", "--muster-endpoint-address=\(host):0"]
        try await TestProgram.run(options, backend: backend) { program in
            let (url, socket) = try await program.ready()
            #expect(socket.hasPrefix("\(host):"))
            #expect(url.hasPrefix("http://\(host):"))
            let port = try #require(socket.split(separator: ":").last.flatMap { Int($0) })
            #expect(port > 0)
            #expect(try await HTTPAnswer.get("\(url)/readyz").status == 200)
            let pids = try await program.started(2).map(\.pid)
            let answer = try await onThread {
                let connection = try Connection(host: host, port: port)
                try connection.send("who\n")
                return String(decoding: try connection.receiveAll(), as: UTF8.self)
            }
            #expect(pids.contains { answer.hasSuffix(" \($0)\n") })
        }
    }

    @Test("a Unix socket's file goes with the program, however it ends", arguments: [SIGTERM, SIGINT])
    func file(signal: Int32) async throws {
        try await TestProgram.run(["--workers=1"]) { program in
            try await program.ready()
            #expect(FileManager.default.fileExists(atPath: program.socketPath))
            program.signal(signal)
            _ = try await program.status()
            #expect(!FileManager.default.fileExists(atPath: program.socketPath))
        }
    }

    @Test("a file that nobody listens at any more is replaced")
    func stale() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path("stale")
        try ListeningSocket(.unix(path: path), setting: "test").closeDescriptor()
        #expect(FileManager.default.fileExists(atPath: path))
        try await TestProgram.run(["--workers=1", "--socket=unix:\(path)"]) { program in
            #expect(try await program.ready().socket == "unix:\(path)")
            let answer = try await onThread {
                let connection = try Connection(path: path)
                try connection.send("who\n")
                return String(decoding: try connection.receiveAll(), as: UTF8.self)
            }
            #expect(answer.hasPrefix("test/0 "))
        }
    }

    @Test(
        "an address that somebody has is refused by its setting's name, with status 1",
        arguments: ["--socket", "--muster-endpoint-address"], backends)
    func taken(setting: String, backend: String) async throws {
        let taken = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "test")
        defer { taken.closeDescriptor() }
        let address = "\(taken.address)"
        try await TestProgram.run(["\(setting)=\(address)"], backend: backend) { program in
            let status = try await program.status()
            #expect(status == 1)
            #expect(!program.log("critical", address, setting).isEmpty)
            #expect(program.lines("starting").isEmpty)
        }
    }
}
