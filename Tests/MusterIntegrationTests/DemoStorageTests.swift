// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("The demo's store", .enabled(if: Demo.isBuilt, "build the demo first: make demo"), .timeLimit(.minutes(2)))
struct DemoStorageTests {
    /// Of two blocks of the volume, with what the store adds.
    private static func value(_ number: Int) -> String { String(repeating: "\(number % 10)", count: 8000) }

    /// How many such values fit into the limit of `options`.
    private static let capacity = 16

    private static func options(_ folder: TemporaryFolder) -> [String] {
        ["--data", folder.url.path, "--data-limit", "128KiB"]
    }

    private static func put(_ url: String, _ key: String, _ value: String) async throws -> HTTPAnswer {
        try await HTTPAnswer.get("\(url)/items/\(key)", method: "PUT", body: value)
    }

    /// Stores values under the keys 0, 1, … until one is refused.
    private static func fill(_ url: String) async throws -> (stored: Int, refusal: HTTPAnswer) {
        for number in 0..<1000 {
            let answer = try await put(url, "\(number)", value(number))
            if answer.status != 204 { return (number, answer) }
        }
        throw Program.Ended(description: "a thousand items were stored")
    }

    private static func expectValues(_ numbers: some Sequence<Int>, at url: String) async throws {
        for number in numbers {
            let answer = try await HTTPAnswer.get("\(url)/items/\(number)")
            #expect(answer.status == 200 && answer.body == value(number), "item \(number)")
        }
    }

    /// The files that are being written.
    private static func unfinished(_ folder: TemporaryFolder) -> [String] {
        (FileManager.default.subpaths(atPath: folder.url.path) ?? []).filter { $0.contains("/new-") }
    }

    @Test("answers 507 at its limit, keeps what it has, and takes more when there is space", arguments: ["0", "4"])
    func full(workers: String) async throws {
        for backend in DemoTests.backends {
            let folder = try TemporaryFolder()
            let demo = try await Demo(backend: backend, options: ["--workers", workers] + Self.options(folder))
            let url = demo.ready.http
            let (stored, refusal) = try await Self.fill(url)
            #expect(stored == Self.capacity)
            #expect(refusal.status == 507)
            #expect(refusal.body.contains("128 KiB of 128 KiB (--data-limit)"), "\(refusal.body)")
            // Nor is a value replaced: for a moment both would be there.
            #expect(try await Self.put(url, "0", "other").status == 507)
            try await Self.expectValues(0..<stored, at: url)
            #expect(Self.unfinished(folder) == [])

            #expect(try await HTTPAnswer.get("\(url)/items/3", method: "DELETE").status == 204)
            // One block instead of two. With the two that were removed, three are free.
            #expect(try await Self.put(url, "0", "other").status == 204)
            #expect(try await Self.put(url, "new", Self.value(0)).status == 204)
            #expect(try await Self.put(url, "large", Self.value(0)).status == 507)
            #expect(try await Self.put(url, "small", "x").status == 204)
            #expect(try await Self.put(url, "smaller", "").status == 507)
            #expect(try await HTTPAnswer.get("\(url)/items/0").body == "other")
            try await Self.expectValues((0..<stored).filter { $0 != 0 && $0 != 3 }, at: url)
        }
    }

    @Test("keeps its limit when many clients store at once through several workers")
    func concurrent() async throws {
        let folder = try TemporaryFolder()
        let demo = try await Demo(backend: nil, options: ["--workers", "4"] + Self.options(folder))
        let url = demo.ready.http
        let answers = try await withThrowingTaskGroup(of: (Int, Int).self) { group in
            for number in 0..<Self.capacity * 3 {
                group.addTask { (number, try await Self.put(url, "\(number)", Self.value(number)).status) }
            }
            var answers: [Int: Int] = [:]
            for try await (number, status) in group { answers[number] = status }
            return answers
        }
        let stored = answers.filter { $0.value == 204 }.map(\.key)
        #expect(stored.count == Self.capacity)
        #expect(answers.values.filter { $0 == 507 }.count == answers.count - stored.count)
        try await Self.expectValues(stored, at: url)
    }

    @Test("counts what an earlier run has stored, and removes what it has left half written")
    func restart() async throws {
        let folder = try TemporaryFolder()
        let first = try await Demo(backend: nil, options: ["--workers", "2"] + Self.options(folder))
        #expect(try await Self.fill(first.ready.http).stored == Self.capacity)
        first.signal(SIGKILL)
        #expect(try await first.status() == 128 + SIGKILL)
        try Data(repeating: 0, count: 8).write(to: folder.url.appendingPathComponent("space"))
        try Data(repeating: 1, count: 40_000).write(to: folder.url.appendingPathComponent("0/new-1-1"))

        let second = try await Demo(backend: nil, options: ["--workers", "2"] + Self.options(folder))
        let (stored, refusal) = try await Self.fill(second.ready.http)
        #expect(stored == 0)
        #expect(refusal.status == 507)
        #expect(refusal.body.contains("128 KiB of 128 KiB"), "\(refusal.body)")
        try await Self.expectValues(0..<Self.capacity, at: second.ready.http)
        #expect(Self.unfinished(folder) == [])
    }

    @Test("gets the space back that a killed worker was writing to")
    func killed() async throws {
        let folder = try TemporaryFolder()
        let demo = try await Demo(
            backend: "threading",
            options: ["--workers", "1", "--loops", "1", "--liveness-limit", "60s"] + Self.options(folder))
        let url = demo.ready.http
        let hang = Task { try? await demo.get("/hang?seconds=60", from: url) }
        var requests: [Task<HTTPAnswer?, Never>] = []
        // One that comes before the shard is locked is stored.
        _ = try await eventually("an item that cannot be stored yet") {
            requests.append(Task { try? await Self.put(url, "lost", Self.value(0)) })
            return Self.unfinished(folder).isEmpty ? nil : true
        }
        kill(try #require(demo.workers.first).pid, SIGKILL)
        _ = try await demo.metrics("the replacement") { $0.restarts == ["signal": 1] && $0.workers("ready") == 1 }
        _ = await hang.value
        for request in requests { _ = await request.value }
        _ = try await HTTPAnswer.get("\(url)/items/lost", method: "DELETE")
        _ = try await eventually("the half written file removed") { Self.unfinished(folder).isEmpty ? true : nil }
        #expect(try await Self.fill(url).stored == Self.capacity)
    }

    @Test("gets the space of expired items back")
    func expiry() async throws {
        let demo = try await Demo(backend: nil, options: ["--interval", "10ms", "--data-limit", "16KiB"])
        let url = demo.ready.http
        #expect(try await Self.put(url, "0", Self.value(0)).status == 204)
        #expect(try await Self.put(url, "1?ttl=100ms", Self.value(1)).status == 204)
        _ = try await eventually("space") { try await Self.put(url, "2", Self.value(2)).status == 204 ? true : nil }
        try await Self.expectValues([0, 2], at: url)
        #expect(try await Self.put(url, "3", Self.value(3)).status == 507)
    }

    @Test("answers 500, not 507, for another failure than a lack of space, and logs it")
    func otherFailure() async throws {
        let folder = try TemporaryFolder()
        let demo = try await Demo(backend: nil, options: ["--loops", "1"] + Self.options(folder))
        let shard = folder.url.appendingPathComponent("0")
        try FileManager.default.removeItem(at: shard)
        #expect(try await Self.put(demo.ready.http, "a", "x").status == 500)
        // Neither does what cannot be read or removed look as if it were not there.
        try Data().write(to: shard)
        #expect(try await HTTPAnswer.get("\(demo.ready.http)/items/a").status == 500)
        #expect(try await HTTPAnswer.get("\(demo.ready.http)/items/a", method: "DELETE").status == 500)
        let failures = demo.log.split(separator: "\n").filter { $0.contains("request failed") }
        #expect(failures.count == 3)
        #expect(failures.allSatisfy { $0.contains("/items/a") && $0.contains("errno") }, "\(failures)")
    }

    @Test(
        "answers 507 where a file cannot grow, and keeps what it has",
        .enabled(if: find("prlimit") != nil, "no prlimit"))
    func fileSize() async throws {
        let folder = try TemporaryFolder()
        let demo = try await Demo(backend: nil, options: ["--data", folder.url.path])
        let url = demo.ready.http
        #expect(try await Self.put(url, "0", Self.value(0)).status == 204)
        // The soft limit, from now on.
        let prlimit = try Program("/usr/bin/env", ["prlimit", "--pid", "\(demo.ready.pid)", "--fsize=8192:"])
        try #require(try await prlimit.status() == 0, "\(prlimit.errors)")
        let large = String(repeating: "x", count: 8192)
        for key in ["0", "1"] {
            let refusal = try await Self.put(url, key, large)
            #expect(refusal.status == 507)
            #expect(refusal.body.contains("too large"), "\(refusal.body)")
        }
        #expect(Self.unfinished(folder) == [])
        #expect(try await Self.put(url, "2", Self.value(2)).status == 204)
        try await Self.expectValues([0, 2], at: url)
        #expect(try await HTTPAnswer.get("\(url)/items/1").status == 404)
    }

    /// Whether a process can be given a small volume of its own.
    static let canMount: Bool = {
        guard let unshare = find("unshare") else { return false }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: unshare)
        process.arguments = ["--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/tmp"]
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }()

    @Test(
        "answers 507 when the volume is full, keeps what it has, and takes more when there is space",
        .enabled(if: canMount, "no volume can be mounted in a namespace of its own"), arguments: ["0", "2"])
    func fullVolume(workers: String) async throws {
        let volume = try TemporaryFolder()
        let demo = try await Demo(
            backend: nil, options: ["--workers", workers, "--data", volume.url.path, "--data-limit", "0"],
            environment: ["VOLUME": volume.url.path],
            preparation: """
                exec unshare --map-root-user --mount /bin/sh -ec \
                'mount -t tmpfs -o size=1m none "$VOLUME"; exec "$0" "$@"' "$0" "$@"
                """)
        let url = demo.ready.http
        let (stored, refusal) = try await Self.fill(url)
        #expect(stored > 100)
        #expect(refusal.status == 507)
        #expect(refusal.body.contains("no space left"), "\(refusal.body)")
        #expect(try await Self.put(url, "0", Self.value(1)).status == 507)
        try await Self.expectValues(0..<stored, at: url)
        #expect(try await HTTPAnswer.get("\(url)/items/3", method: "DELETE").status == 204)
        #expect(try await Self.put(url, "3", Self.value(3)).status == 204)
        try await Self.expectValues(0..<stored, at: url)
    }

    @Test(
        "stores as many of 90 values of 1 MB as there is room for, and answers 507 to the others",
        .enabled(if: canMount, "no volume can be mounted in a namespace of its own"), .serialized,
        arguments: [("cooperative", "64m", 50), ("threading", "20m", 20)])
    func megabytes(backend: String, volumeSize: String, capacity: Int) async throws {
        let volume = try TemporaryFolder()
        let demo = try await Demo(
            backend: backend, options: ["--workers", "4", "--data", volume.url.path],
            environment: ["VOLUME": volume.url.path, "SIZE": volumeSize],
            preparation: """
                exec unshare --map-root-user --mount /bin/sh -ec \
                'mount -t tmpfs -o size="$SIZE" none "$VOLUME"; exec "$0" "$@"' "$0" "$@"
                """)
        let url = demo.ready.http
        @Sendable func megabyte(_ number: Int) -> String {
            String(repeating: "\(number % 10)", count: 999_998) + "\(number + 10)"
        }
        let answers = try await withThrowingTaskGroup(of: (Int, HTTPAnswer).self) { group in
            var answers: [Int: HTTPAnswer] = [:]
            for number in 0..<90 {
                // Some at a time: other tests run beside this one.
                if number >= 8, let (number, answer) = try await group.next() { answers[number] = answer }
                group.addTask { (number, try await Self.put(url, "\(number)", megabyte(number))) }
            }
            for try await (number, answer) in group { answers[number] = answer }
            return answers
        }
        let stored = answers.filter { $0.value.status == 204 }.map(\.key)
        // Blocks that are not the items' are on the volume, too.
        #expect((capacity - 1...capacity).contains(stored.count), "\(stored.count)")
        for (number, answer) in answers where answer.status != 204 {
            #expect(answer.status == 507, "\(number)")
            #expect(answer.body.contains("the store is full"), "\(answer.body)")
        }
        for number in stored {
            let answer = try await HTTPAnswer.get("\(url)/items/\(number)")
            #expect(answer.status == 200 && answer.body == megabyte(number), "item \(number)")
        }
        #expect(try await demo.get("/items", from: url).status == 200)
    }

    /// Whether a test can enter the namespace that it has made.
    private static let canEnter = canMount && find("nsenter") != nil

    @Test(
        "answers 503 when its volume is read-only, logs it, and keeps what it has",
        .enabled(if: canEnter, "no volume can be mounted in a namespace of its own, or no nsenter"))
    func readOnly() async throws {
        let volume = try TemporaryFolder()
        let demo = try await Demo(
            backend: nil, options: ["--loops", "1", "--data", volume.url.path],
            preparation: "exec unshare --map-root-user --mount \"$0\" \"$@\"")
        let url = demo.ready.http
        func inside(_ arguments: String...) async throws {
            let nsenter = try Program(
                "/usr/bin/env",
                ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", "\(demo.ready.pid)"] + arguments)
            try #require(try await nsenter.status() == 0, "\(nsenter.errors)")
        }
        #expect(try await Self.put(url, "0", Self.value(0)).status == 204)
        // Over the shard: the volume itself has files that are open for writing.
        try await inside("mount", "-t", "tmpfs", "-o", "ro", "none", "\(volume.url.path)/0")
        for method in ["PUT", "DELETE"] {
            let refusal = try await HTTPAnswer.get("\(url)/items/0", method: method, body: "x")
            #expect(refusal.status == 503)
            #expect(refusal.body.contains("read-only"), "\(refusal.body)")
        }
        #expect(demo.log.contains("volume is read-only"))
        try await inside("umount", "\(volume.url.path)/0")
        try await Self.expectValues([0], at: url)
        #expect(try await Self.put(url, "0", Self.value(1)).status == 204)
    }
}
