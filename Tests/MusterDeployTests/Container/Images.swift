// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

/// The images that the tests of containers share: the container file's two, made of the release build of the demo and of
/// this machine's own libraries, so that neither a compiler nor a network is needed.
struct Images: Sendable {
    static let base = "localhost/muster-test:base"
    static let slim = "localhost/muster-test:slim"
    static let distroless = "localhost/muster-test:distroless"
    static let commandLine = "localhost/muster-test:cli"

    let podman: Podman
    /// How large the program and what writes its backtraces are, in bytes.
    let programSize: Int

    /// Those of the test that runs.
    @TaskLocal static var current: Images?

    init() async throws {
        podman = try Podman()
        let made = try await Tools.answer(
            "/bin/bash", ["\(Tools.here)/make-base-image", Images.base] + [Podman.binary ?? ""] + podman.options,
            environment: podman.environment)
        guard made.status == 0 else { throw Program.Ended(description: "no base image: \(made.errors)") }
        // As a continuous integration would lay it out that compiles outside.
        let context = try TemporaryFolder()
        try await Tools.run(
            "/bin/sh", "-ec",
            """
            mkdir "$0/program"
            strip --strip-debug -o "$0/program/muster-demo" "$1" || cp "$1" "$0/program/muster-demo"
            cp "$2" "$0/program/swift-backtrace"
            [ -z "$3" ] || strip --strip-debug -o "$0/program/muster" "$3" || cp "$3" "$0/program/muster"
            """, context.url.path, Demo.binary ?? "", Podman.backtracer ?? "", MusterCommandLine.binary ?? "")
        programSize = try ["muster-demo", "swift-backtrace"].reduce(0) {
            try $0 + (FileManager.default.attributesOfItem(atPath: context.path("program/\($1)"))[.size] as? Int ?? 0)
        }
        // The second one takes all but its last stages from the first one's layers.
        try await build("slim", Images.slim, in: context)
        try await build("distroless", Images.distroless, in: context)
        if MusterCommandLine.isBuilt {
            try await build("cli", Images.commandLine, in: context, "--build-arg", "PROGRAMS=muster")
        }
    }

    private func build(_ target: String, _ name: String, in context: TemporaryFolder, _ more: String...) async throws {
        let options = [
            "build", "--quiet", "--layers", "--format", "docker", "--pull=never", "--network", "none",
            "--file", "\(Tools.root)/deploy/container/Containerfile", "--target", target, "--tag", name,
            "--build-arg", "PREBUILT=program", "--build-arg", "RUNTIME_PACKAGES=", "--build-arg", "CLI_PACKAGES=",
            "--build-arg", "BUILD_IMAGE=\(Images.base)", "--build-arg", "RUNTIME_IMAGE=\(Images.base)",
        ]
        let built = try await podman.answer(options + more + [context.url.path])
        guard built.status == 0 else { throw Program.Ended(description: "no image \(name): \(built.errors)") }
    }
}

/// Makes the images once for all tests of a suite, and removes them after the last one.
struct WithImages: SuiteTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        guard Images.current == nil, Podman.obstacle == nil else { return try await function() }
        try await Images.$current.withValue(try await Images(), operation: function)
    }
}
