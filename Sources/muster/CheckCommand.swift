// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import MusterCommand

/// `muster check`
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Check a service's settings and web config file before it starts.",
        discussion: """
            Nothing is started. Settings are read as the service would read them: from the arguments after `--`, then \
            the environment, then the JSON file. systemd units are checked by `systemd-analyze verify`.

            Examples:
              muster check
              MUSTER_SETTINGS_FILE=/etc/mailer.json muster check --bind
              muster check -- --muster-liveness-limit 5s
              muster check --web-config web.yml --strict

            Exit codes:
              0   no problems found, or only warnings and notes
              1   warnings, with --strict
              2   errors
              64  usage error
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

    @Flag(help: "Check that the endpoint's address can be bound.")
    var bind = false

    @Flag(help: "Exit with code 1 on warnings.")
    var strict = false

    @Flag(help: "Print a JSON document instead of lines.")
    var json = false

    @Flag(name: [.short, .long], help: "Print errors and warnings only.")
    var quiet = false

    @Flag(help: "Disable colours, as NO_COLOR and TERM=dumb do.")
    var noColor = false

    @Argument(
        parsing: .postTerminator,
        help: ArgumentHelp(
            "The service's own arguments, after `--`, as in -- --muster-liveness-limit 5s.", valueName: "arguments"))
    var arguments: [String] = []

    func run() throws {
        let report = CheckRun(
            settingsFile: settingsFile, webConfigFile: webConfig, arguments: arguments,
            environment: Environment.all, isBinding: bind
        ).report()
        let style = Style(
            isTerminal: Terminal.isOutput, isRefused: noColor, environment: { Environment.value($0) })
        if json {
            Terminal.write(report.json(isStrict: strict) + "\n")
        } else {
            let lines = report.lines(style: style, isQuiet: quiet) + (quiet ? [] : [report.summary])
            for line in lines { Terminal.write(line + "\n") }
        }
        throw ExitCode(Terminal.end(report.exit(isStrict: strict)).rawValue)
    }
}
