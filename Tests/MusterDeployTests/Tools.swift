// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport

/// The programs that the tests of `deploy/` drive, and the files they are driven with.
enum Tools {
    /// How a program has ended, and what it has written.
    typealias Answer = (status: Int32, output: String, errors: String)

    /// The repository.
    static let root = PythonTool.repository.path
    static let here = "\(root)/Tests/MusterDeployTests"

    static let python = PythonTool.interpreter
    static let kubectl = tool("kubectl")
    static let kubernetesValidate = tool("kubernetes-validate")
    static let checkJSONSchema = tool("check-jsonschema")
    static let promtool = find("promtool")
    static let systemdAnalyze = find("systemd-analyze")

    /// Whether YAML can be read.
    static let readsYAML = PythonTool.has("yaml")

    /// A program beside the interpreter, or on the PATH.
    private static func tool(_ name: String) -> String? {
        let beside = URL(fileURLWithPath: python).deletingLastPathComponent().appendingPathComponent(name).path
        if FileManager.default.isExecutableFile(atPath: beside) { return beside }
        return find(name)
    }

    /// Runs a program to its end and returns what it has written to its standard output.
    ///
    /// - Throws: `Program.Ended` when it does not end with status 0.
    @discardableResult
    static func run(_ program: String?, _ arguments: String..., input: String? = nil) async throws -> String {
        let answer = try await answer(program, arguments, input: input)
        guard answer.status == 0 else {
            throw Program.Ended(
                description: "\(arguments) ended with \(answer.status): \(answer.output)\(answer.errors)")
        }
        return answer.output
    }

    /// Runs a program to its end.
    static func answer(
        _ program: String?, _ arguments: [String], input: String? = nil, environment: [String: String] = [:]
    ) async throws -> Answer {
        guard let program else { throw Program.Ended(description: "the program for \(arguments) is not installed") }
        let folder = try TemporaryFolder()
        let file = try input.map { FileHandle(forReadingAtPath: try folder.write($0, to: "input")) }
        let running = try Program(program, arguments, environment: environment, input: file ?? nil)
        let status = try await running.status()
        return (status, running.output, running.errors)
    }

    /// The documents of YAML files.
    static func yaml(_ paths: String...) async throws -> [JSONValue] {
        try await documents(paths, input: nil)
    }

    /// The documents of a text in YAML.
    static func yaml(text: String) async throws -> [JSONValue] {
        try await documents(["-"], input: text)
    }

    private static func documents(_ paths: [String], input: String?) async throws -> [JSONValue] {
        let answer = try await answer(python, ["\(here)/yaml-to-json.py"] + paths, input: input)
        guard answer.status == 0 else { throw Program.Ended(description: answer.errors) }
        return try JSONDecoder().decode([JSONValue].self, from: Data(answer.output.utf8))
    }
}
