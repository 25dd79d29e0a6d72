// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// An entry of ``ConsoleCommand/table``: a command of the console.
package struct ConsoleCommand: Sendable {
    package enum Kind: String, Sendable {
        /// It changes nothing.
        case read
        /// It is logged, with who has asked for it.
        case action
    }

    /// Which process answers.
    package enum Place: String, Sendable {
        /// The supervisor alone: it works when every worker hangs.
        case supervisor
        /// Each of the workers it is meant for.
        case worker
        /// The supervisor, and each of its workers.
        case everywhere
    }

    package let name: String
    /// The names of the arguments; those that begin with `[` may be left out. They tell a client what completes them: `GROUP`
    /// a name of `groups`, `WORKER` one of `workers`, `TARGET` either, `COMMAND` one of `commands`.
    package let parameters: [String]
    package let help: String
    package let kind: Kind
    package let place: Place

    private init(_ name: String, _ parameters: String, _ kind: Kind, _ place: Place, _ help: String) {
        self.name = name
        self.parameters = parameters.split(separator: " ").map(String.init)
        self.kind = kind
        self.place = place
        self.help = help
    }

    package var usage: String { ([name] + parameters).joined(separator: " ") }

    /// Whether its last argument says which workers it is meant for.
    package var hasTarget: Bool { parameters.last == "[TARGET]" }

    /// All commands. The parser, `help`, the relay to workers and the page follow from this table; what a command does is
    /// told where it runs, in ``ConsoleHost``.
    package static let table: [ConsoleCommand] = [
        ConsoleCommand("workers", "[TARGET]", .read, .supervisor, "workers with state, pid, age and restarts"),
        ConsoleCommand("groups", "", .read, .supervisor, "launched services and their numbers of workers"),
        ConsoleCommand("jobs", "[TARGET]", .read, .worker, "jobs alive, and where they wait"),
        ConsoleCommand("threads", "[TARGET]", .read, .supervisor, "threads with CPU time and backtraces"),
        ConsoleCommand(
            "profile", "SECONDS [TARGET]", .read, .supervisor, "where processors' time goes, as folded stacks"),
        ConsoleCommand("loops", "[TARGET]", .read, .supervisor, "looping calls with runs, lateness and next run"),
        ConsoleCommand("pools", "[TARGET]", .read, .supervisor, "thread groups and pools with threads and queues"),
        ConsoleCommand("metrics", "[PREFIX]", .read, .supervisor, "metrics whose names begin with the prefix"),
        ConsoleCommand("health", "", .read, .supervisor, "health checks"),
        ConsoleCommand("settings", "[PREFIX]", .read, .supervisor, "settings with their sources"),
        ConsoleCommand(
            "log-level", "[LABEL] [LEVEL]", .action, .everywhere, "show or set the log levels of loggers"),
        ConsoleCommand("reload", "", .action, .supervisor, "reload, as SIGHUP does"),
        ConsoleCommand("scale", "GROUP N", .action, .supervisor, "change the number of a service's workers"),
        ConsoleCommand("replace", "WORKER", .action, .supervisor, "replace one worker by a new process"),
        ConsoleCommand("stop", "", .action, .supervisor, "stop the program gracefully, as SIGTERM does"),
        ConsoleCommand("commands", "", .read, .supervisor, "this table, for programs"),
        ConsoleCommand("help", "[COMMAND]", .read, .supervisor, "the commands"),
        ConsoleCommand("quit", "", .read, .supervisor, "close the connection"),
    ]

    /// The table as `commands` and `help` answer it.
    static func answer(only name: String? = nil) -> ConsoleAnswer {
        let commands = table.filter { name == nil || $0.name == name }
        guard !commands.isEmpty else { return ConsoleAnswer(.usage, "unknown command '\(name ?? "")'") }
        return ConsoleAnswer(
            ConsoleTable(
                [.init("command"), .init("arguments"), .init("kind"), .init("place"), .init("help")],
                rows: commands.map { command in
                    [
                        .text(command.name), .text(command.parameters.joined(separator: " ")),
                        .text(command.kind.rawValue), .text(command.place.rawValue), .text(command.help),
                    ]
                }))
    }
}

/// A line that a client has sent.
package struct ConsoleRequest: Sendable {
    /// The longest line in bytes, without its newline.
    package static let longestLine = 4096

    package let command: ConsoleCommand
    package let arguments: [String]
    /// Whether the reply is JSON.
    package let isJSON: Bool

    /// Reads a line.
    ///
    /// - Throws: ``ConsoleUsage``, which has the answer.
    package init(_ line: String) throws(ConsoleUsage) {
        var words = Self.words(of: line)
        let isJSON = words?.contains("--json") ?? false
        self.isJSON = isJSON
        func usage(_ text: String) -> ConsoleUsage { ConsoleUsage(isJSON: isJSON, text: text) }
        words?.removeAll { $0 == "--json" }
        guard let words else { throw usage("a quotation mark is not closed") }
        guard let name = words.first else { throw usage("no command; 'help' lists the commands") }
        guard let command = ConsoleCommand.table.first(where: { $0.name == name }) else {
            throw usage("unknown command '\(name)'; 'help' lists the commands")
        }
        let needed = command.parameters.count { !$0.hasPrefix("[") }
        guard (needed...command.parameters.count).contains(words.count - 1) else {
            throw usage(command.usage)
        }
        self.command = command
        arguments = Array(words.dropFirst())
    }

    /// The argument of a parameter, which may be one that can be left out.
    package func argument(_ index: Int) -> String? { arguments.indices.contains(index) ? arguments[index] : nil }

    /// Whether it changes something.
    var isAction: Bool {
        // Without a level it only shows those there are.
        command.kind == .action && (command.name != "log-level" || arguments.count > 1)
    }

    /// How long workers may take to answer.
    package var timeLimit: Duration {
        let index = command.parameters.firstIndex { $0 == "SECONDS" || $0 == "[SECONDS]" }
        let seconds = index.flatMap(argument).flatMap(Double.init) ?? 0
        return .seconds(2) + .seconds(min(max(0, seconds), 3600))
    }

    /// The workers it is meant for; `nil` for all.
    package var target: String? { command.hasTarget ? argument(command.parameters.count - 1) : nil }

    /// The request as a line, without what only the process concerns that has received it.
    var line: String {
        ([command.name] + arguments).map(ConsoleClient.quoted).joined(separator: " ")
    }

    /// The words of a line. One that begins with a quotation mark goes on to the next one. `nil` when there is none.
    private static func words(of line: String) -> [String]? {
        var words: [String] = []
        var rest = line[...]
        while true {
            rest = rest.drop(while: \.isWhitespace)
            if rest.isEmpty { return words }
            if rest.hasPrefix("\"") {
                rest = rest.dropFirst()
                guard let end = rest.firstIndex(of: "\"") else { return nil }
                words.append(String(rest[..<end]))
                rest = rest[rest.index(after: end)...]
            } else {
                let end = rest.firstIndex(where: \.isWhitespace) ?? rest.endIndex
                words.append(String(rest[..<end]))
                rest = rest[end...]
            }
        }
    }
}

/// Why a line is no command.
package struct ConsoleUsage: Error, Hashable, Sendable {
    package let isJSON: Bool
    package let text: String
}
