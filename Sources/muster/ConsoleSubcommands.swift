// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import CMuster
import Glibc
import Muster
import MusterCommand
import MusterPlatform

/// `muster ctl`
struct ControlSubcommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ctl",
        abstract: "Send one command to the console of a running service.",
        discussion: """
            muster ctl --help lists the commands and options.

            Examples:
              muster ctl --muster-console /run/mailer/console.sock reload
              MUSTER_CONSOLE=/run/mailer/console.sock muster ctl scale mailer 6
            """)

    @Argument(parsing: .captureForPassthrough, help: "Options, the command and its arguments.")
    var arguments: [String] = []

    func run() throws {
        throw ExitCode(ConsoleClient.run(arguments, program: "muster ctl").rawValue)
    }
}

/// `muster console`
struct ConsoleSubcommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "console",
        abstract: "Talk to the console of a running service.",
        discussion: """
            On a terminal, lines are edited and completed (tab), and kept in a history. Otherwise each line of standard \
            input is a command.

            Examples:
              muster console /run/mailer/console.sock
              muster console -c workers -c 'threads mailer/0'
              muster console --json -c groups | jq '.rows[]'
              echo reload | muster console 9918

            Exit codes:
              0   every command was done
              1   a command failed
              2   no console: no answer, refused, connection lost, …
              3   a worker did not answer in time
              64  usage error
            Of several commands it is that of the last one that was not done.
            """)

    @Argument(
        help: ArgumentHelp(
            "The console: the path of a socket, a port, or a range of ports. (default: $MUSTER_CONSOLE)",
            valueName: "place"), completion: .file())
    var place: String?

    @Option(
        name: [.customShort("c"), .long],
        help: ArgumentHelp("Send this command instead of reading any; may be repeated.", valueName: "command"))
    var command: [String] = []

    @Flag(help: "Print replies as JSON, one per line.")
    var json = false

    @Option(
        help: ArgumentHelp(
            "How long a reply may take. (default: 30 s, and what the command itself takes)", valueName: "duration"))
    var timeout: DurationArgument?

    func run() throws {
        let place: ConsolePlace
        do {
            place = try ConsoleClient.place(self.place)
        } catch {
            Terminal.complain("muster: \(error)")
            throw ExitCode(error is ConsoleClientError ? CommandExit.failure.rawValue : CommandExit.usage.rawValue)
        }
        let session = ConsoleSession(place, timeout: timeout?.duration, isJSON: json)
        if !command.isEmpty {
            for line in command { session.perform(line) }
        } else if isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1 {
            session.interact()
        } else {
            while !session.isOver, let line = readLine() { session.perform(line) }
        }
        let exit = Terminal.end(.success)
        throw ExitCode(exit == .success ? session.exitStatus : exit.rawValue)
    }
}

/// What a user has with a console: commands and replies over a connection that is made anew when it is lost.
private final class ConsoleSession {
    private let place: ConsolePlace
    private let timeout: Duration?
    private let isJSON: Bool
    private var client: ConsoleClient?
    private var completion: ConsoleCompletion?
    /// Readable after Ctrl-C.
    private var interruption: Int32?
    /// That of the last command that was not done.
    private(set) var exitStatus: Int32 = 0
    /// Whether the user has quit.
    private(set) var isOver = false

    init(_ place: ConsolePlace, timeout: Duration?, isJSON: Bool) {
        self.place = place
        self.timeout = timeout
        self.isJSON = isJSON
    }

    private func send(_ line: String) throws(ConsoleClientError) -> ConsoleReply {
        do throws(ConsoleClientError) {
            if let client { return try client.send(line) }
            let client = try ConsoleClient(place, timeout: timeout, interruptedBy: interruption)
            self.client = client
            return try client.send(line)
        } catch {
            // What comes late is no answer to the next line.
            client = nil
            throw error
        }
    }

    /// Sends a line, and prints what is answered.
    func perform(_ line: String) {
        let words = line.split(whereSeparator: \.isWhitespace)
        guard let command = words.first, !command.hasPrefix("#") else { return }
        guard !line.contains(where: \.isNewline) else {
            Terminal.complain("muster: a command is one line")
            exitStatus = CommandExit.usage.rawValue
            return
        }
        do throws(ConsoleClientError) {
            let isJSON = isJSON || words.contains("--json")
            let reply = try send(isJSON && !words.contains("--json") ? line + " --json" : line)
            if !reply.lines.isEmpty { Terminal.write(reply.lines.joined(separator: "\n") + "\n") }
            if let message = reply.message, !isJSON {
                switch (reply.status, reply.lines.isEmpty) {
                case (.ok, true): Terminal.write(message + "\n")
                // Beside an answer that another program may read, it is not part of it.
                case (.ok, false): Terminal.complain(message)
                default: Terminal.complain("muster: " + message)
                }
            }
            if let status = reply.status, status != .ok { exitStatus = status.exitStatus.rawValue }
            isOver = command == "quit" && reply.status == .ok
        } catch {
            Terminal.complain("muster: \(error)")
            exitStatus = ConsoleClientError.exitStatus.rawValue
        }
    }

    // MARK: On a terminal

    func interact() {
        let signals = cmuster_signal_pipe_open()
        if signals >= 0, cmuster_signal_install(SIGINT) == 0 { interruption = signals }
        do throws(ConsoleClientError) {
            completion = ConsoleCompletion(try send("commands --json"))
        } catch {
            Terminal.complain("muster: \(error)")
            exitStatus = ConsoleClientError.exitStatus.rawValue
            return
        }
        let editor = LineEditor(
            prompt: "muster> ", history: ConsoleCompletion.historyFile(environment: { Environment.value($0) }),
            complete: { [unowned self] in complete($0) })
        guard let editor else { return Terminal.complain("muster: the terminal cannot be used") }
        Terminal.write("Console at \(place). 'help' lists the commands, tab completes, Ctrl-D leaves.\n")
        while !isOver, !Terminal.hasFailed {
            switch editor.read() {
            case .line(let line):
                forgetInterruptions()
                perform(line)
            case .interrupted: Terminal.write("^C\n")
            case .end:
                Terminal.write("\n")
                isOver = true
            }
        }
        // Failures were seen.
        exitStatus = 0
    }

    private func forgetInterruptions() {
        guard let interruption else { return }
        var bytes: UInt64 = 0
        while read(interruption, &bytes, 8) > 0 {}
    }

    private static let levels = ["trace", "debug", "info", "notice", "warning", "error", "critical", "default"]

    private func complete(_ line: String) -> (insertion: String, shown: [String]) {
        guard let completion else { return ("", []) }
        let (word, kind) = completion.lastWord(of: line)
        var candidates: [String] =
            switch kind {
            case .command: completion.commands
            case .level: Self.levels
            default: []
            }
        forgetInterruptions()
        for (command, column) in ConsoleCompletion.sources(of: kind) {
            // Without an answer there is nothing to complete with; the next command says why.
            guard let reply = try? send(command + " --json") else { continue }
            candidates += ConsoleCompletion.column(column, of: reply)
        }
        let (insertion, choices) = ConsoleCompletion.complete(word, with: candidates)
        return (insertion, ConsoleCompletion.columns(choices, width: Terminal.size.width))
    }
}
