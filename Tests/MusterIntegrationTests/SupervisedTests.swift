// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("The supervised demo", .enabled(if: Demo.isBuilt, "build the demo first: make demo"), .timeLimit(.minutes(3)))
struct SupervisedTests {
    @Test("runs half of its workers on the other backend when asked to")
    func canaries() async throws {
        let demo = try await Demo(
            backend: "cooperative",
            options: ["--workers", "4", "--canary-backend", "threading", "--canary-percent", "50"])
        let samples = try await demo.metrics()
        func workers(_ backend: String) -> [String] {
            samples.matching("muster_backend_info", ["backend": backend]).filter { $0.value == 1 }
                .compactMap { $0.labels["worker"] }.sorted()
        }
        #expect(workers("threading") == ["1", "3"])
        #expect(workers("cooperative") == ["0", "2"])
        // They serve, too: who answers is whoever is quickest, so all are asked until each of them has.
        var answered: Set<String> = []
        _ = try await eventually("an answer of each backend") {
            let page = try await demo.get("/", from: demo.ready.http).body
            if let match = page.firstMatch(of: /backend (\w+)/) { answered.insert(String(match.1)) }
            return answered.count == 2 ? true : nil
        }
    }

    @Test("sleeps while there is nothing to do, and so do its workers")
    func idle() async throws {
        let demo = try await Demo(
            backend: nil,
            options: ["--workers", "2", "--loops", "1", "--interval", "1h", "--liveness-limit", "1s"])
        let processes = [ProcessFiles(pid: demo.ready.pid)] + demo.workers
        #expect(processes.count == 3)
        func sleeps() -> [[String: Int]] { processes.map(\.sleeps) }
        // What the start has left behind may take a moment. From then on ten seconds are one look at them.
        var before = sleeps()
        _ = try await eventually("ten seconds of sleep", within: .seconds(45)) {
            try await Task.sleep(for: .seconds(10))
            let after = sleeps()
            defer { before = after }
            return after == before ? true : nil
        }
        #expect(before.allSatisfy { !$0.isEmpty })
        // They wake when there is something.
        #expect(try await demo.get("/items", from: demo.ready.http).status == 200)
        #expect(try await demo.get("/livez").status == 200)
        #expect(sleeps() != before)
    }

    // MARK: The service manager

    @Test("tells the service manager when it is ready, reloads and stops, and feeds its watchdog")
    func notifications() async throws {
        let manager = try NotifySocket()
        let demo = try await Demo(
            backend: nil, options: ["--workers", "4"],
            environment: ["NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"])
        _ = try await eventually("readiness") { manager.index(of: "READY=1") }
        let start = manager.messages
        let ready = try #require(manager.index(of: "READY=1"))
        #expect(start[ready]["STATUS"]?.hasPrefix("store: 4 of 4 workers ready") == true)
        // Up to then it has said how many there are, and each time there were more.
        let counts = start[..<ready].compactMap { $0["STATUS"]?.firstMatch(of: /(\d) of 4 workers ready/)?.1 }
        #expect(counts == counts.sorted())
        #expect(!counts.contains("4"))
        _ = try await eventually("the watchdog") {
            manager.messages.count { $0["WATCHDOG"] == "1" } >= 5 ? true : nil
        }

        let now = ProcessInfo.processInfo.systemUptime
        demo.signal(SIGHUP)
        _ = try await demo.metrics("the reload") {
            // The kernel keeps ten messages, and a burst of them comes now.
            _ = manager.messages
            return $0.sum("muster_reloads_total", ["outcome": "completed"]) == 1
        }
        let again = try await eventually("readiness after the reload") {
            manager.index(of: "READY=1", after: ready)
        }
        let all = manager.messages
        let reloading = try #require(manager.index(of: "RELOADING=1"))
        #expect(ready < reloading && reloading < again)
        let instant = try #require(all[reloading]["MONOTONIC_USEC"].flatMap(Double.init))
        #expect(abs(instant / 1e6 - now) < 30)
        #expect(all[again]["STATUS"]?.contains("4 of 4 workers ready, 4 restarts") == true)
        #expect(all.count { $0["RELOADING"] == "1" } == 1)

        #expect(manager.index(of: "STOPPING=1") == nil)
        demo.signal(SIGTERM)
        #expect(try await demo.status() == 0)
        #expect(try await eventually("the end") { manager.index(of: "STOPPING=1") } > again)
        // One program speaks, once for each thing.
        #expect(manager.messages.count { $0["READY"] == "1" } == 2)
        #expect(manager.messages.count { $0["STOPPING"] == "1" } == 1)
        #expect(manager.messages.allSatisfy { $0["MAINPID"].map { $0 == "\(demo.ready.pid)" } ?? true })
    }

    @Test("takes its socket from the service manager", arguments: ["0", "2"])
    func socketActivation(workers: String) async throws {
        let socket = try ListeningDescriptor()
        let demo = try await Demo(
            backend: nil, options: ["--workers", workers, "--http", "systemd:http"],
            environment: ["LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"],
            // Inherited as number 3, as systemd does it; the number of the process is known in it only.
            preparation: "export LISTEN_PID=$$\nexec 3<&0 </dev/null", input: socket.handle)
        #expect(demo.ready.http == "http://127.0.0.1:\(socket.port)")
        let item = demo.ready.http + "/items/a"
        #expect(try await HTTPAnswer.get(item, method: "PUT", body: "1").status == 204)
        #expect(try await HTTPAnswer.get(item).body == "1")
        demo.signal(SIGHUP)
        _ = try await eventually("the reload") {
            demo.log.contains(workers == "0" ? "restarting services" : "reload completed") ? true : nil
        }
        #expect(try await HTTPAnswer.get(item).body == "1")
        demo.signal(SIGTERM)
        #expect(try await demo.status() == 0)
        // It is still the manager's, who goes on listening for the next start.
        #expect(throws: Never.self) { try HTTPConnection(to: "http://127.0.0.1:\(socket.port)") }
    }

    @Test("says which sockets it was given when one is missing")
    func missingSocket() async throws {
        let program = try Program(try #require(Demo.binary), ["--http", "systemd:http", "--endpoint", "127.0.0.1:0"])
        #expect(try await program.status() == 1)
        #expect(program.errors.contains("--http"))
        #expect(program.errors.contains("systemd:http"))
    }

    @Test("serves at a Unix socket, and removes its file", arguments: ["0", "2"])
    func unixSocket(workers: String) async throws {
        let folder = try TemporaryFolder()
        let path = folder.path("store")
        let demo = try await Demo(backend: nil, options: ["--workers", workers, "--http", "unix:\(path)"])
        #expect(demo.ready.http == "unix:\(path)")
        let curl = try Program("/bin/sh", ["-c", "exec curl -s --unix-socket \"$0\" http://demo/items", path])
        let status = try await curl.status()
        // 127: there is no curl.
        #expect(status == 127 || curl.output.contains("shard 0: 0 items"))
        demo.signal(SIGTERM)
        #expect(try await demo.status() == 0)
        #expect(!FileManager.default.fileExists(atPath: path))
    }
}
