// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("What workers inherit", .transcript, .timeLimit(.minutes(10)))
struct InheritanceTests {
    /// An open file by its number in the file system, so that the same one is known in two processes.
    private struct OpenFile: Hashable {
        let device: UInt64
        let inode: UInt64
        let name: String
    }

    /// What a process has open, but for the kinds of files that are all one to the file system.
    private func openFiles(of pid: Int32) throws -> [Int32: OpenFile] {
        var files: [Int32: OpenFile] = [:]
        for number in try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").compactMap(Int32.init) {
            let path = "/proc/\(pid)/fd/\(number)"
            var status = Foundation.stat()
            guard let name = try? FileManager.default.destinationOfSymbolicLink(atPath: path), stat(path, &status) == 0,
                !name.hasPrefix("anon_inode")
            else { continue }
            files[number] = OpenFile(device: UInt64(status.st_dev), inode: UInt64(status.st_ino), name: name)
        }
        return files
    }

    /// Waits until a worker that was a warm spare has its own files alone in memory: a thread of the rehearsal's may be about
    /// to end.
    private func forgetsRehearsal(_ worker: TestProgram.Line) async throws {
        _ = try await eventually("a memory without the rehearsal's") {
            let maps = try String(contentsOfFile: "/proc/\(worker.pid)/maps", encoding: .utf8)
            return maps.contains("/memfd:muster-metrics") && !maps.contains("/memfd:muster-dry-run") ? true : nil
        }
    }

    @Test(
        "a worker has its own arena, vital signs and channel, and shares the listening socket alone",
        arguments: backends)
    func descriptors(backend: String) async throws {
        try await TestProgram.run(["--workers=3", "--spares=1"], backend: backend) { program in
            try await program.ready()
            // The one that is looked at last came when all the others were there.
            kill(try await program.started(3)[0].pid, SIGKILL)
            let workers = try await program.started(4)
            for worker in workers { try await forgetsRehearsal(worker) }
            let supervisor = Set(try openFiles(of: program.pid).values)
            let files = try workers.map { try openFiles(of: $0.pid) }
            for file in files {
                let memory = file.values.filter { $0.name.hasPrefix("/memfd:") }
                #expect(Set(memory.map { $0.name.split(separator: " ")[0] }).count == 2)
                #expect(Set(memory).count == 2)
                let shared = Set(file.filter { $0.key > 2 }.values).intersection(supervisor)
                // Arena and vital signs, which are memory, and the listening socket.
                #expect(shared.count == 3, "\(shared)")
                #expect(shared.count { $0.name.hasPrefix("socket:") } == 1)
            }
            for (one, other) in [(0, 1), (0, 2), (1, 2)] {
                let shared = Set(files[one].filter { $0.key > 2 }.values)
                    .intersection(files[other].filter { $0.key > 2 }.values)
                #expect(shared.map { $0.name.prefix(7) } == ["socket:"])
            }
        }
    }

    @Test("what a warm spare has tried out leaves nothing in its memory", arguments: backends)
    func rehearsal(backend: String) async throws {
        try await TestProgram.run(["--workers=1", "--spares=1"], backend: backend) { program in
            try await program.ready()
            for round in 1...4 {
                kill(try #require(program.lines("started").last).pid, SIGKILL)
                let worker = try #require(await program.started(1 + round).last)
                try await forgetsRehearsal(worker)
            }
        }
    }

    @Test("a worker's successors have as many descriptors as the first one had", arguments: backends)
    func generations(backend: String) async throws {
        try await TestProgram.run(["--workers=2"], backend: backend) { program in
            try await program.ready()
            let first = try await program.started(2)
            let before = try openFiles(of: first[1].pid).count
            for round in 1...5 {
                kill(try await program.said("started", 1 + round).last?.pid ?? 0, SIGKILL)
                try await program.said("started", 2 + round)
            }
            let last = try #require(program.lines("started").last)
            try await program.logged("worker ready", "pid=\(last.pid)")
            #expect(try openFiles(of: last.pid).count == before)
        }
    }

    @Test("a worker's own children inherit nothing of it", arguments: backends)
    func grandchildren(backend: String) async throws {
        try await TestProgram.run(["--workers=1"], backend: backend) { program in
            try await program.ready()
            // The last one is the folder that is listed.
            #expect(try await program.command("shell ls /proc/self/fd").split(separator: "\n") == ["0", "1", "2", "3"])
        }
    }

    @Test("a worker's child that is the same program is no worker", arguments: backends)
    func nested(backend: String) async throws {
        try await TestProgram.run(["--workers=1"], backend: backend) { program in
            try await program.ready()
            let marker = "tr '\\0' '\\n' < /proc/$PPID/environ | grep ^MUSTER_WORKER="
            let inherited = try await program.command("shell \(marker)")
            #expect(inherited.hasPrefix("MUSTER_WORKER="))
            let role = try await program.command("shell env \"$(\(marker))\" \(TestProgram.binary) --tell-role")
            #expect(role == "no worker")
        }
    }
}
