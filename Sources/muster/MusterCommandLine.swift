// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import CMuster
import Glibc
import Muster
import MusterCommand

/// The command line for Muster services.
@main
struct MusterCommandLine: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "muster",
        abstract: "Show and control a Muster service, check its settings, and compare backends.",
        discussion: """
            muster status                        the service at 127.0.0.1:9917
            muster status --watch unix:/run/mailer.sock
            muster check -- --muster-liveness-limit 5s
            muster console /run/mailer/console.sock
            muster ctl reload                    the service whose console MUSTER_CONSOLE names
            muster compare run -- ./mailer       both backends, measured on this machine
            muster compare --prometheus http://prometheus:9090

            Completions for a shell: muster --generate-completion-script bash (or zsh, fish).
            """,
        version: "muster \(MusterVersion.current)",
        subcommands: [
            StatusCommand.self, CheckCommand.self, ConsoleSubcommand.self, ControlSubcommand.self, CompareCommand.self,
        ])

    static func main() {
        // Help and completions are printed by the library, which does not look whether they were written.
        atexit {
            guard fflush(nil) != 0 || cmuster_take_stream_failure() else { return }
            Terminal.complain("muster: cannot write to standard output")
            _exit(CommandExit.failure.rawValue)
        }
        main(nil)
    }
}

/// The credentials for an endpoint.
struct Access {
    let user: String?
    let password: String?
    var token: String?
    let caFile: String?
    let certificate: String?
    let key: String?
    let isInsecure: Bool
}

/// The options for an endpoint with a web config file.
struct AccessOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "User name. The password is read from --password-file or $MUSTER_PASSWORD.", valueName: "name"))
    var user: String?

    @Option(
        help: ArgumentHelp("File whose first line is the password.", valueName: "file"), completion: .file())
    var passwordFile: String?

    @Option(
        help: ArgumentHelp(
            "PEM file of trusted certificate authorities. (default: the system's)",
            valueName: "file"), completion: .file())
    var caFile: String?

    @Option(help: ArgumentHelp("Client certificate, as PEM.", valueName: "file"), completion: .file())
    var cert: String?

    @Option(help: ArgumentHelp("Client key, as PEM.", valueName: "file"), completion: .file())
    var key: String?

    @Flag(help: "Accept any server certificate.")
    var insecure = false

    func validate() throws {
        guard key == nil || cert != nil else { throw ValidationError("'--key' requires '--cert'.") }
        guard passwordFile == nil || user != nil else {
            throw ValidationError("'--password-file' requires '--user'.")
        }
        guard user == nil || passwordFile != nil || Environment.value("MUSTER_PASSWORD") != nil else {
            throw ValidationError("'--user' requires '--password-file' or the environment variable MUSTER_PASSWORD.")
        }
        if let user, user.contains(":") { throw ValidationError("'--user' must not contain a colon.") }
    }

    /// The credentials, with the password read from its file.
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
            user: user, password: user == nil ? nil : password, token: nil, caFile: caFile, certificate: cert, key: key,
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
