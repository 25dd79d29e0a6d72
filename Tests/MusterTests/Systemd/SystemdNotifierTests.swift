// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import Muster
import MusterMetrics
import MusterPlatform
import Testing

@Suite("Notifying systemd")
struct SystemdNotifierTests {
    private static func notifier(
        _ environment: [String: String], processID: Int32? = nil, log: CapturedLog = CapturedLog()
    ) -> SystemdNotifier? {
        SystemdNotifier(environment: { environment[$0] }, processID: processID, logger: log.logger)
    }

    @Test("Messages arrive, whether the socket has a path or an abstract name", arguments: [false, true])
    func arrive(isAbstract: Bool) throws {
        let socket = try NotifySocket(isAbstract: isAbstract)
        let log = CapturedLog()
        let notifier = try #require(Self.notifier(["NOTIFY_SOCKET": socket.name], log: log))
        notifier.ready()
        #expect(socket.receive() == "READY=1")
        notifier.ready(status: "serving")
        #expect(socket.receive() == "READY=1\nSTATUS=serving")
        notifier.stopping(status: "draining\nworkers")
        #expect(socket.receive() == "STOPPING=1\nSTATUS=draining workers")
        notifier.status("two workers")
        #expect(socket.receive() == "STATUS=two workers")
        notifier.watchdog()
        #expect(socket.receive() == "WATCHDOG=1")
        notifier.mainProcess(17)
        #expect(socket.receive() == "MAINPID=17")
        notifier.send(.ready + .mainProcess(17))
        #expect(socket.receive() == "READY=1\nMAINPID=17")
        #expect(socket.receive() == nil)
        #expect(log.messages(.debug).isEmpty)
    }

    @Test("A reload bears the present instant of the clock that systemd compares it with")
    func reloading() throws {
        let socket = try NotifySocket(isAbstract: true)
        let notifier = try #require(Self.notifier(["NOTIFY_SOCKET": socket.name]))
        let before = MonotonicInstant.now.nanoseconds / 1000
        notifier.reloading(status: "again")
        let lines = try #require(socket.receive()).split(separator: "\n")
        #expect(lines.count == 3 && lines.first == "RELOADING=1" && lines.last == "STATUS=again")
        let instant = try #require(Int64(lines[1].dropFirst("MONOTONIC_USEC=".count)))
        #expect(instant >= before && instant <= MonotonicInstant.now.nanoseconds / 1000)
    }

    @Test("Without NOTIFY_SOCKET nobody is told anything")
    func unset() {
        #expect(Self.notifier([:]) == nil)
        #expect(Self.notifier(["NOTIFY_SOCKET": ""]) == nil)
        #expect(Self.notifier(["WATCHDOG_USEC": "1000"]) == nil)
    }

    @Test(
        "An address that is none is warned of",
        arguments: ["run/notify", "@", "vsock:2:1234", "/" + String(repeating: "x", count: 107)])
    func unusable(address: String) {
        let log = CapturedLog()
        #expect(Self.notifier(["NOTIFY_SOCKET": address], log: log) == nil)
        #expect(log.messages(.warning).count == 1)
    }

    @Test("The longest addresses are addresses", arguments: ["/", "@"])
    func longest(prefix: String) {
        let room = prefix == "/" ? 107 : 108
        let name = prefix + String(repeating: "x", count: room - 1)
        #expect(Self.notifier(["NOTIFY_SOCKET": name]) != nil)
        #expect(Self.notifier(["NOTIFY_SOCKET": name + "x"]) == nil)
    }

    @Test("A socket where nobody listens is no failure, and warned of once")
    func nobodyListens() throws {
        for isAbstract in [false, true] {
            let log = CapturedLog()
            let name = try NotifySocket(isAbstract: isAbstract).name
            let notifier = try #require(Self.notifier(["NOTIFY_SOCKET": name], log: log))
            notifier.ready()
            notifier.ready()
            let text = "cannot notify systemd: it will not know when the service is ready"
            #expect(log.messages(.warning) == [text] && log.messages(.debug) == [text])
            #expect(log.messages(.error).isEmpty)
            #expect(log.metadata("message", of: text) == ["READY=1", "READY=1"])
        }
    }

    @Test("A listener that does not read holds up nobody, and gets everything in order when it reads")
    func fullQueue() throws {
        let socket = try NotifySocket(isAbstract: true)
        let log = CapturedLog()
        let notifier = try #require(Self.notifier(["NOTIFY_SOCKET": socket.name], log: log))
        // The kernel queues some hundred datagrams at most; a call that waited would wait for ever.
        for _ in 0..<1000 { notifier.watchdog() }
        notifier.reloading(at: MonotonicInstant(nanoseconds: 1000))
        notifier.ready()
        notifier.stopping()
        var received: [String] = []
        while received.last != "STOPPING=1" {
            guard let message = socket.receive(within: .seconds(30)) else { break }
            received.append(message)
        }
        #expect(received.filter { $0 != "WATCHDOG=1" } == ["RELOADING=1\nMONOTONIC_USEC=1", "READY=1", "STOPPING=1"])
        #expect(log.messages(.warning).isEmpty)
    }

    @Test("No message leaves a descriptor open")
    func noLeak() throws {
        let socket = try NotifySocket(isAbstract: true)
        let notifier = try #require(Self.notifier(["NOTIFY_SOCKET": socket.name]))
        let before = try #require(ProcessStatistics(pid: nil).openDescriptors)
        for _ in 0..<5000 {
            notifier.watchdog()
            if socket.receive() != "WATCHDOG=1" { Issue.record("a message is missing") }
        }
        // Other tests open descriptors meanwhile, but not by the thousand.
        #expect(try #require(ProcessStatistics(pid: nil).openDescriptors) < before + 2500)
    }

    @Test("The watchdog is fed at half of its time, and only by the process that it means")
    func watchdogInterval() throws {
        func interval(_ more: [String: String]) throws -> Duration? {
            let environment = ["NOTIFY_SOCKET": "/run/notify"].merging(more) { $1 }
            return try #require(Self.notifier(environment, processID: 7)).watchdogInterval
        }
        #expect(try interval([:]) == nil)
        #expect(try interval(["WATCHDOG_USEC": "30000000"]) == .seconds(15))
        #expect(try interval(["WATCHDOG_USEC": "3", "WATCHDOG_PID": "7"]) == .nanoseconds(1500))
        #expect(try interval(["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"]) == nil)
        #expect(try interval(["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "x"]) == nil)
        for nonsense in ["", "0", "-5", "1s", "99999999999999999999"] {
            #expect(try interval(["WATCHDOG_USEC": nonsense]) == nil)
        }
        #expect(
            Self.notifier(["NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "2", "WATCHDOG_PID": "\(getpid())"])?
                .watchdogInterval == .microseconds(1))
    }

    @Test("The environment that counts is the process' own unless another is given")
    func ownEnvironment() {
        #expect((SystemdNotifier() == nil) == (getenv("NOTIFY_SOCKET") == nil))
    }
}
