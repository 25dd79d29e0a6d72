// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import Muster
import MusterCommand

/// The command line for services that run with Muster.
@main
struct MusterCommandLine: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "muster",
        abstract: "Look at a service that runs with Muster, and check its settings before it starts.",
        discussion: """
            muster status                        how the service at 127.0.0.1:9917 is doing
            muster status --watch unix:/run/mailer.sock
            muster check --unit mailer.service   whether unit and settings go together

            Completions for a shell: muster --generate-completion-script bash (or zsh, fish).
            """,
        version: "muster \(MusterVersion.current)",
        subcommands: [StatusCommand.self, CheckCommand.self])
}

/// What is shown to an endpoint that asks for it.
struct Access {
    let user: String?
    let password: String?
    let caFile: String?
    let certificate: String?
    let key: String?
    let isInsecure: Bool
}

/// What an endpoint with a web config file may ask for.
struct AccessOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The user's name. The password is that of --password-file or $MUSTER_PASSWORD.", valueName: "name"))
    var user: String?

    @Option(
        help: ArgumentHelp("A file whose first line is the password.", valueName: "file"), completion: .file())
    var passwordFile: String?

    @Option(
        help: ArgumentHelp(
            "The certificates of the authorities that are trusted, as PEM. (default: the system's)",
            valueName: "file"), completion: .file())
    var caFile: String?

    @Option(help: ArgumentHelp("The client's certificate, as PEM.", valueName: "file"), completion: .file())
    var cert: String?

    @Option(help: ArgumentHelp("The client's key, as PEM.", valueName: "file"), completion: .file())
    var key: String?

    @Flag(help: "Take any certificate of the server's.")
    var insecure = false

    func validate() throws {
        guard key == nil || cert != nil else { throw ValidationError("'--key' goes with '--cert'.") }
        guard passwordFile == nil || user != nil else {
            throw ValidationError("'--password-file' goes with '--user'.")
        }
        guard user == nil || passwordFile != nil || Environment.value("MUSTER_PASSWORD") != nil else {
            throw ValidationError("'--user' needs '--password-file', or MUSTER_PASSWORD in the environment.")
        }
        if let user, user.contains(":") { throw ValidationError("'--user' cannot have a colon in its name.") }
    }

    /// What to show the endpoint, with the password read.
    func read() throws -> Access {
        var password = Environment.value("MUSTER_PASSWORD")
        if let passwordFile {
            switch TextFile.read(passwordFile) {
            case .success(let text): password = text.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
            case .failure(let failure):
                Terminal.complain("muster: --password-file: \(passwordFile) \(failure)")
                throw ExitCode(CommandExit.failure.rawValue)
            }
        }
        return Access(
            user: user, password: user == nil ? nil : password, caFile: caFile, certificate: cert, key: key,
            isInsecure: insecure)
    }
}

/// A duration on the command line, written as in settings.
struct DurationArgument: ExpressibleByArgument, ExpressibleByStringLiteral, CustomStringConvertible {
    let duration: Duration
    let text: String

    init?(argument: String) {
        guard let duration = Duration(parsing: argument) else { return nil }
        self.duration = duration
        text = argument
    }

    init(stringLiteral text: String) {
        duration = Duration(parsing: text) ?? .zero
        self.text = text
    }

    var description: String { text }
    var defaultValueDescription: String { text }
}

/// The environment of this process.
enum Environment {
    /// The value of a variable; `nil` for one that is not set or empty.
    static func value(_ name: String) -> String? {
        guard let value = getenv(name).map({ String(cString: $0) }), !value.isEmpty else { return nil }
        return value
    }

    /// All variables.
    static var all: [String: String] {
        var result: [String: String] = [:]
        var next = environ
        while let entry = next.pointee {
            let text = String(cString: entry)
            if let equals = text.firstIndex(of: "=") {
                result[String(text[..<equals])] = String(text[text.index(after: equals)...])
            }
            next += 1
        }
        return result
    }
}
