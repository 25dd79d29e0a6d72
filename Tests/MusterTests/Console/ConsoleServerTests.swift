// SPDX-License-Identifier: Apache-2.0

import Foundation
import Logging
import MusterHealth
import MusterLock
import MusterPlatform
import MusterTestKit
import MusterTestSupport
import Synchronization
import Testing

@testable import Muster

/// What clients may do to a console over its real socket.
@Suite("The console's connections", .timeLimit(.minutes(2)))
struct ConsoleServerTests {
    /// A console that answers with what it was asked, in a folder of its own.
    private final class Fixture: Sendable {
        let folder: TemporaryFolder
        let server: ConsoleServer
        let socket: ListeningSocket
        let place: ConsolePlace
        let log = CapturedLog()
        let requests: Locked<[String]>

        init(_ limits: ConsoleServer.Limits = .init(), place: String? = nil, lines: Int = 1) throws {
            folder = try TemporaryFolder()
            let place = try ConsolePlace(parsing: place ?? folder.path("s"))
            socket = try place.open { _ in }
            if case .tcp(_, let port) = socket.address { self.place = .ports(port...port) } else { self.place = place }
            let requests = Locked([String]())
            self.requests = requests
            server = try ConsoleServer(socket: socket, limits: limits, logger: log.logger) { request, _, _, complete in
                requests.withLock { $0.append(request.line) }
                complete(ConsoleAnswer(lines: Array(repeating: request.line, count: lines)))
            }
            try server.start()
        }

        var path: String { folder.path("s") }

        func send(_ line: String) async throws -> ConsoleReply {
            let place = place
            return try await onThread { try ConsoleClient(place).send(line) }
        }

        /// What comes after something was sent, until the console closes.
        func exchange(_ text: String) async throws -> String {
            let path = path
            return try await onThread {
                let connection = try Connection(path: path)
                // It may close before it has read all of it.
                try? connection.send(text)
                return String(decoding: try connection.receiveAll(), as: UTF8.self)
            }
        }

        deinit { server.stop() }
    }

    @Test("a loop without an interval is shown with its schedule")
    func schedules() async throws {
        try await TestBackend.with(.cooperative) { backend in
            let folder = try TemporaryFolder()
            let place = try ConsolePlace(parsing: folder.path("s"))
            let runs = Recorder<Void>()
            let group = ThreadGroup(name: "test", backend: backend)
            try group.addPeriodicTasks([
                PeriodicTask("nightly", try .daily(at: "03:00"), startsAtOnce: true) { runs.append(()) },
                PeriodicTask("hourly", .every(.seconds(3600)), startsAtOnce: true) { runs.append(()) },
            ])
            _ = try await runs.first(2)
            let console = try #require(
                try DiagnosticsConsole.start(
                    place, of: Worker(group: "a", slot: 0), backend: backend,
                    health: HealthRegistry(runner: { _, _ in }),
                    logger: CapturedLog().logger, settings: { MusterSettings() }, state: { .ready }, reload: {},
                    stop: {}))
            defer { console.stop() }
            let lines = try await onThread { try ConsoleClient(place).send("loops") }.lines
            #expect(lines.contains { $0.contains("nightly") && $0.contains("daily at 03:00 UTC, every worker") })
            #expect(lines.contains { $0.contains("hourly") && !$0.contains("every worker") })
            try await group.stop()
        }
    }

    private var hasty: ConsoleServer.Limits {
        .init(connections: 8, idleTime: .seconds(60), patience: .milliseconds(100))
    }

    @Test("the socket is its user's alone, and gone at the end")
    func file() async throws {
        let fixture = try Fixture()
        var status = stat()
        #expect(lstat(fixture.path, &status) == 0)
        #expect(status.st_mode & 0o7777 == 0o600)
        #expect(try await fixture.send("workers a/1").lines == ["workers a/1"])
        fixture.server.stop()
        #expect(lstat(fixture.path, &status) != 0)
        await #expect(throws: ConsoleClientError.self) { try await fixture.send("workers") }
    }

    @Test("a second stop leaves alone what has got the number of its socket")
    func stoppedTwice() async throws {
        let fixture = try Fixture()
        let (server, number) = (fixture.server, fixture.socket.descriptor)
        let pair = try SocketPair()
        let gate = DispatchSemaphore(value: 0)
        let next = Recorder<Int32>()
        // All that is done in one turn.
        server.loop.submit { gate.wait() }
        server.stop()
        server.loop.submit { next.append(fcntl(pair.near.rawValue, F_DUPFD_CLOEXEC, number)) }
        server.stop()
        server.loop.submit { next.append(0) }
        gate.signal()
        // Most often the very number; else somebody else has it, whom a second close would have hit.
        let taken = try await next.first(2)[0]
        #expect(try FileIdentity(of: taken) == FileIdentity(of: pair.near.rawValue))
        close(taken)
        // It stops the server at its end.
        withExtendedLifetime(fixture) {}
    }

    @Test("several lines at once are answered one after the other, with any end of line")
    func pipeline() async throws {
        let fixture = try Fixture()
        #expect(
            try await fixture.exchange("workers\r\nfoo\n\nquit\nworkers\n") == """
                 workers
                ok
                usage: unknown command 'foo'; 'help' lists the commands
                usage: no command; 'help' lists the commands
                ok

                """)
    }

    @Test(
        "a line that is none costs its client the connection",
        arguments: [
            ("a\u{0}b\n", "not text"), ("\u{16}\u{3}\u{1}\n", "not text"),
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\nstop\n", "not an HTTP"),
        ])
    func foreign(text: String, reason: String) async throws {
        let reply = try await Fixture().exchange(text)
        #expect(reply.hasPrefix("refused: ") && reply.contains(reason) && reply.filter(\.isNewline).count == 1)
    }

    @Test("a line of 10 MB is refused after its beginning")
    func longLine() async throws {
        let fixture = try Fixture()
        let reply = try await fixture.exchange(String(repeating: "a", count: 10 << 20))
        #expect(reply == "refused: the line is longer than 4096 bytes\n")
        #expect(try await fixture.send("workers").status == .ok)
    }

    @Test("half a line is not waited for without end")
    func halfLine() async throws {
        #expect(try await Fixture(hasty).exchange("work") == "")
    }

    @Test("a client that does not read its reply loses it, and holds up nobody")
    func stalledReader() async throws {
        var limits = hasty
        limits.connections = 2
        let fixture = try Fixture(limits, lines: 1_000_000)
        let (path, place) = (fixture.path, fixture.place)
        try await onThread {
            let stalled = try Connection(path: path)
            try stalled.send("workers\n")
            let second = try ConsoleClient(place)
            #expect(try second.send("foo").status == .usage)
            // There is room for a third one when the first one has lost its place.
            while (try? ConsoleClient(place).send("foo")) == nil { usleep(1000) }
            let received = try stalled.receiveAll()
            #expect(received.count < 8_000_000)
        }
    }

    @Test("of 1,000 connections those beyond the limit are refused politely, and the first ones go on")
    func crowd() async throws {
        let fixture = try Fixture()
        let (path, place) = (fixture.path, fixture.place)
        let refusal = "too many connections; the limit is 32"
        let began = ContinuousClock.now
        try await onThread {
            let first = try ConsoleClient(place)
            let others = try (0..<31).map { _ in try Connection(path: path) }
            for _ in 31..<999 {
                let received = try Connection(path: path).receiveAll()
                guard String(decoding: received, as: UTF8.self) == "refused: \(refusal)\n" else {
                    Issue.record("\(received.count) bytes")
                    break
                }
            }
            #expect(throws: ConsoleClientError.refused(refusal)) { try ConsoleClient(place).send("workers") }
            #expect(try first.send("workers").status == .ok)
            withExtendedLifetime(others) {}
        }
        // One in ten seconds.
        let most = 1 + Int((ContinuousClock.now - began) / .seconds(10))
        #expect((1...most).contains(fixture.log.messages(.warning).count))
    }

    @Test("a socket left over is taken over, a living one is not, and no other file is")
    func takeOver() throws {
        let folder = try TemporaryFolder()
        let path = folder.path("s")
        let place = ConsolePlace.socket(path: path)
        let left = try place.open { _ in }
        close(left.descriptor)
        let living = try place.open { _ in }
        defer { close(living.descriptor) }
        #expect(throws: ListenError.self) { try place.open { _ in } }
        #expect(throws: ListenError.self) { try place.open(mayReplace: { $0 != getpid() }) { _ in } }
        let successor = try place.open(mayReplace: { $0 == getpid() }) { _ in }
        defer { close(successor.descriptor) }
        living.unlinkFile()
        #expect(access(path, F_OK) == 0)
        let file = try folder.write("", to: "f")
        #expect(throws: ListenError.notASocket(path: file, setting: Setting.spellings(of: "muster.console"))) {
            try ConsolePlace.socket(path: file).open { _ in }
        }
        var warnings: [String] = []
        let broken = try ConsolePlace.socket(path: folder.path("{x}")).open { warnings.append($0) }
        close(broken.descriptor)
        #expect(warnings.count == 1)
        #expect(access(folder.path("{x}"), F_OK) == 0)
    }

    @Test("of a range of ports the first free one is taken; one that is busy is an error")
    func ports() async throws {
        var made: Fixture?
        var range: ClosedRange<UInt16> = 0...0
        var taken: [ListeningSocket] = []
        defer { for socket in taken { close(socket.descriptor) } }
        // Until the neighbour of a port is free.
        for _ in 0..<20 where made == nil {
            let candidate = try ConsolePlace.ports(0...0).open { _ in }
            taken.append(candidate)
            guard case .tcp(_, let port) = candidate.address, port < .max else { continue }
            range = port...(port + 1)
            made = try? Fixture(place: "\(range.lowerBound):\(range.upperBound)")
        }
        let fixture = try #require(made)
        #expect(fixture.place == .ports(range.upperBound...range.upperBound))
        #expect(throws: ListenError.self) { try ConsolePlace.ports(range).open { _ in } }
        // Either could be the console.
        let candidates = ConsoleClientError.ambiguous(["\(range.lowerBound)", "\(range.upperBound)"])
        #expect(throws: candidates) { try ConsolePlace.ports(range).connect() }
        // Whose the connection is, is found in the kernel's table.
        #expect(try await fixture.send("groups").lines == ["groups"])
    }

    @Test("an argument of the client's stays one, of one command")
    func arguments() async throws {
        let fixture = try Fixture()
        let place = fixture.place
        func run(_ arguments: String...) async throws -> Int32 {
            try await onThread { ConsoleClient.run(arguments, program: "test", place: place).rawValue }
        }
        #expect(try await run("scale", "web shop", "4") == 0)
        for argument in ["x\nstop\n", "x\rstop", "a\" b", "\""] {
            #expect(try await run("log-level", argument, "debug") == 64)
        }
        #expect(try await run("--muster-console=", "stop") == 64)
        #expect(try await run("--muster-console=x:y", "stop") == 64)
        #expect(fixture.requests.withLock { $0 } == ["scale \"web shop\" 4"])
    }

    @Test("a program that accepts nothing is not waited for without end")
    func fullQueue() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path("s")
        let stopped = try ListeningSocket(.unix(path: path), setting: "test", backlog: 0, mode: 0o600)
        defer { close(stopped.descriptor) }
        try await onThread {
            var waiting: [OwnedDescriptor] = []
            do throws(ConsoleClientError) {
                while waiting.count < 8 {
                    waiting.append(try ConsolePlace.socket(path: path).connect(within: .milliseconds(50)))
                }
                Issue.record("the queue has no end")
            } catch {
                #expect(error == .cannotConnect(path, SystemError("connect", code: EAGAIN)))
                #expect("\(error)".contains("is the program stopped?"))
            }
        }
    }

    @Test(
        "another user is refused, over either kind of socket",
        .enabled(if: geteuid() == 0 && access("/usr/bin/perl", X_OK) == 0 && access("/usr/bin/setpriv", X_OK) == 0),
        arguments: [false, true])
    func otherUser(isTCP: Bool) async throws {
        let fixture = try Fixture(place: isTCP ? "0" : nil)
        var socket = "IO::Socket::UNIX->new(Peer => '\(fixture.path)')"
        if case .tcp(_, let port) = fixture.socket.address {
            socket = "IO::Socket::INET->new(PeerAddr => '127.0.0.1:\(port)')"
        } else {
            // Or the kernel would refuse it.
            chmod(fixture.path, 0o666)
            chmod(fixture.folder.url.path, 0o755)
        }
        // A client that only reads.
        let client = try Program(
            "/usr/bin/setpriv",
            [
                "--reuid=65534", "--clear-groups", "--", "/usr/bin/perl", "-MIO::Socket", "-e",
                "print \(socket)->getlines",
            ])
        _ = try await client.status()
        #expect(client.output == "refused: only the user of the program (uid 0) and root may use this console\n")
        #expect(fixture.log.metadata("peer_uid", of: "console refused a connection") == ["65534"])
    }
}
