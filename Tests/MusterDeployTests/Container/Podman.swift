// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport

/// podman with a storage of its own, in which nothing of this machine's is and nothing of which remains.
final class Podman: Sendable {
    static let binary = find("podman")
    /// What writes the backtraces of a statically linked program, from Swift's toolchain.
    static let backtracer: String? = find("swift").flatMap {
        let swift = URL(fileURLWithPath: $0).resolvingSymlinksInPath()
        let path = swift.deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("libexec/swift/linux/swift-backtrace-static").path
        return FileManager.default.isExecutableFile(atPath: path) ? path : nil
    }

    /// Why no containers can be run here; `nil` if they can.
    static let obstacle: String? = {
        guard binary != nil, find("runc") != nil else { return "install podman and runc" }
        guard Demo.isBuilt else { return "build the demo first: make demo" }
        guard backtracer != nil else { return "no swift-backtrace-static in the toolchain" }
        do {
            // A file system of nothing but one program that needs no library, and a container of it: that takes
            // mounts, namespaces and control groups.
            let podman = try Podman()
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/bin/sh")
            process.arguments = [
                "-ec",
                """
                cd "$(mktemp -d)"; trap 'rm -rf "$PWD"' EXIT; cp "$0" program
                tar -c program | "$@" import --quiet - localhost/muster-probe >/dev/null
                "$@" run --rm --pull=never --network none --read-only localhost/muster-probe /program --version >&2
                """,
                "/sbin/ldconfig", binary ?? "",
            ]
            process.arguments? += podman.options
            process.environment = ProcessInfo.processInfo.environment.merging(podman.environment) { $1 }
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = FileHandle.nullDevice
            let errors = Pipe()
            process.standardError = errors
            try process.run()
            let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            process.waitUntilExit()
            return text.contains("ldconfig (")
                ? nil : "podman cannot run a container here: \(text.suffix(300))"
        } catch {
            return "\(error)"
        }
    }()

    /// Of its own making, because podman takes no path longer than 50 characters.
    private let folder: String
    let options: [String]
    let environment: [String: String]

    init() throws {
        let name = "muster-\(UInt32.random(in: 0 ... .max))"
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(name).path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        // Limits as they are: a test need not be permitted to raise them. runc does with any kind of control groups.
        let file = "\(folder)/containers.conf"
        try """
        [containers]
        default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
        [engine]
        runtime = "runc"
        """.write(toFile: file, atomically: true, encoding: .utf8)
        environment = ["CONTAINERS_CONF": file]
        options = ["--root", "\(folder)/root", "--runroot", "\(folder)/run", "--tmpdir", "\(folder)/tmp"]
    }

    deinit {
        guard let binary = Podman.binary else { return }
        for arguments in [["rm", "--all", "--force", "--time", "0"], ["rmi", "--all", "--force"]] {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: binary)
            process.arguments = options + arguments
            process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            try? process.run()
            process.waitUntilExit()
        }
        // podman keeps its storage mounted to itself.
        umount2("\(folder)/root/overlay", Int32(MNT_DETACH))
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// Runs podman to its end.
    func answer(_ arguments: [String]) async throws -> Tools.Answer {
        // What watches over a container outlives podman, inherits its descriptors, and would keep the one open by which
        // Foundation learns of podman's end.
        let withoutDescriptors = """
            (
                for descriptor in /proc/self/fd/*; do
                    descriptor=${descriptor##*/}
                    if ((descriptor > 2)); then eval "exec $descriptor>&-"; fi
                done
                exec "$0" "$@"
            )
            """
        return try await Tools.answer(
            "/bin/bash", ["-c", withoutDescriptors, Podman.binary ?? "podman"] + options + arguments,
            environment: environment)
    }

    /// Runs podman to its end and returns its standard output without the line's end.
    ///
    /// - Throws: `Program.Ended` when it does not end with status 0.
    @discardableResult
    func callAsFunction(_ arguments: String...) async throws -> String {
        let answer = try await answer(arguments)
        guard answer.status == 0 else {
            throw Program.Ended(description: "podman \(arguments) ended with \(answer.status): \(answer.errors)")
        }
        return answer.output.trimmingCharacters(in: .newlines)
    }

    /// Starts podman.
    func start(_ arguments: [String]) throws -> Program {
        try Program(Podman.binary ?? "podman", options + arguments, environment: environment)
    }
}
