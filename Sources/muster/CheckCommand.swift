// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import MusterCommand

/// `muster check`
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Check settings, web config file and systemd units before a service is started with them.",
        discussion: """
            Nothing is started. Settings are read as the service would read them: from the arguments after `--`, then \
            the environment, then the JSON file. With --unit they are those of each service unit instead, its \
            Environment=, EnvironmentFile= and ExecStart= lines: nothing of this environment is handed down to it.

            Examples:
              muster check
              MUSTER_SETTINGS_FILE=/etc/mailer.json muster check --bind
              muster check -- --muster-liveness-limit 5s
              muster check --unit mailer.service mailer.socket --strict

            Exit codes:
              0   nothing to object to, or only warnings and notes
              1   warnings, with --strict
              2   errors
              64  the command line was wrong
            """)

    @Option(
        help: ArgumentHelp(
            "A JSON file with settings. (default: the one that MUSTER_SETTINGS_FILE or --muster-settings-file names)",
            valueName: "file"), completion: .file(extensions: ["json"]))
    var settingsFile: String?

    @Option(
        help: ArgumentHelp(
            "A web config file, for TLS and passwords. (default: the one that the settings name)", valueName: "file"),
        completion: .file(extensions: ["yml", "yaml"]))
    var webConfig: String?

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "systemd units: the service, and its sockets, so that they are compared.", valueName: "file"),
        completion: .file(extensions: ["service", "socket"]))
    var unit: [String] = []

    @Flag(help: "Try whether the endpoint's address can be listened at.")
    var bind = false

    @Flag(help: "Let warnings count: exit code 1.")
    var strict = false

    @Flag(help: "Write a JSON document instead of lines.")
    var json = false

    @Flag(name: [.short, .long], help: "Write nothing but errors and warnings.")
    var quiet = false

    @Flag(help: "No colours. The environment's NO_COLOR and TERM=dumb do the same.")
    var noColor = false

    @Argument(
        parsing: .postTerminator,
        help: ArgumentHelp(
            "The service's own arguments, after `--`, as in -- --muster-liveness-limit 5s.", valueName: "arguments"))
    var arguments: [String] = []

    func run() throws {
        let report = CheckRun(
            settingsFile: settingsFile, webConfigFile: webConfig, units: unit, arguments: arguments,
            environment: Environment.all, isBinding: bind, read: TextFile.read
        ).report()
        let style = Style(
            isTerminal: Terminal.isOutput, isRefused: noColor, environment: { Environment.value($0) })
        if json {
            Terminal.write(report.json(isStrict: strict) + "\n")
        } else {
            let lines = report.lines(style: style, isQuiet: quiet) + (quiet ? [] : [report.summary])
            for line in lines { Terminal.write(line + "\n") }
        }
        throw ExitCode(report.exit(isStrict: strict).rawValue)
    }
}
