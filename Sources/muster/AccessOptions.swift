// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import MusterCommand

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
