// SPDX-License-Identifier: Apache-2.0

import Configuration
import Glibc
import MusterPlatform

/// A connection to a console. Each call waits for the reply.
package final class ConsoleClient {
    private let connection: OwnedDescriptor
    private let timeout: Duration?
    private let interruption: Int32?
    private var input: [UInt8] = []

    /// Connects.
    ///
    /// - Parameters:
    ///   - timeout: How long to wait for each piece of a reply; `nil` for 30 s and what the command itself may take.
    ///   - interruption: A descriptor that ends the waiting when it is readable.
    package init(
        _ place: ConsolePlace, timeout: Duration? = nil, interruptedBy interruption: Int32? = nil
    ) throws(ConsoleClientError) {
        connection = try place.connect(within: timeout ?? ConsolePlace.patience, interruptedBy: interruption)
        self.timeout = timeout
        self.interruption = interruption
    }

    /// Sends a line and reads the reply.
    ///
    /// - Throws: ``ConsoleClientError`` when there is none, or the console refuses the client.
    package func send(_ line: String) throws(ConsoleClientError) -> ConsoleReply {
        connection.setTimeout(
            timeout ?? .seconds(30) + ((try? ConsoleRequest(line))?.timeLimit ?? .zero), SO_RCVTIMEO, SO_SNDTIMEO)
        let bytes = Array("\(line)\n".utf8)
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Glibc.send(connection.rawValue, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count < 0, errno == EINTR { continue }
            // A refusal may have been sent already.
            guard count > 0 else { break }
            rest.removeFirst(count)
        }
        var reply = ConsoleReply()
        while try !reply.add(readLine()) {}
        if reply.status == .refused { throw .refused(reply.message ?? "") }
        return reply
    }

    private func readLine() throws(ConsoleClientError) -> String {
        var searched = 0
        while true {
            if let end = input[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { input.removeSubrange(...end) }
                return String(decoding: input[..<end], as: UTF8.self)
            }
            searched = input.count
            if let interruption, !waits(unless: interruption) { throw .interrupted }
            var error: Int32 = 0
            let count = withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 1) { buffer in
                let count = recv(connection.rawValue, buffer.baseAddress, buffer.count, 0)
                error = errno
                if count > 0 { input += buffer[..<count] }
                return count
            }
            if count > 0 || count < 0 && error == EINTR { continue }
            if count < 0, error == EAGAIN { throw .noReply }
            throw .closed
        }
    }

    /// Waits for as long as a reply may take.
    ///
    /// - Returns: `false` when it was interrupted.
    private func waits(unless interruption: Int32) -> Bool {
        var limit = timeval()
        var length = socklen_t(MemoryLayout<timeval>.size)
        getsockopt(connection.rawValue, SOL_SOCKET, SO_RCVTIMEO, &limit, &length)
        let milliseconds = limit.tv_sec * 1000 + (limit.tv_usec + 999) / 1000
        var waits = [interruption, connection.rawValue].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        while poll(&waits, 2, milliseconds > 0 ? Int32(clamping: milliseconds) : -1) < 0, errno == EINTR {}
        return waits[0].revents == 0
    }

    // MARK: As a program

    /// Sends one command, prints the reply, and returns the exit status: `ctl` of a program and of `muster`.
    ///
    /// - Parameters:
    ///   - arguments: Options, the command and its arguments.
    ///   - program: What it is called in messages.
    ///   - place: Where the console is unless an option says so; as the settings say when `nil`.
    package static func run(_ arguments: [String], program: String, place: ConsolePlace? = nil) -> ExitStatus {
        var words: [String] = []
        var (named, timeout): (String?, Duration?) = (nil, nil)
        var rest = arguments[...]
        while let word = rest.popFirst() {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            func value() -> String? { parts.count > 1 ? parts[1] : rest.popFirst() }
            switch parts.first {
            case "--help", "-h":
                say(help(program), to: STDOUT_FILENO)
                return .success
            case "--muster-console":
                guard let text = value() else { return usage("--muster-console needs a value", program) }
                named = text
            case "--timeout":
                guard let limit = value().flatMap({ Duration(parsing: $0) }), limit > .zero else {
                    return usage("--timeout needs a duration, such as 30s", program)
                }
                timeout = limit
            default: words.append(word)
            }
        }
        guard words.contains(where: { $0 != "--json" }) else {
            say(help(program), to: STDERR_FILENO)
            return ConsoleStatus.usage.exitStatus
        }
        // Whatever a script passes on, it is one argument of one command.
        guard !words.contains(where: { $0.contains("\"") || $0.unicodeScalars.contains(where: \.isControl) }) else {
            return usage("arguments cannot have quotation marks or control characters", program)
        }
        do {
            let line = words.map(quoted).joined(separator: " ")
            let place = try named == nil ? place ?? Self.place(nil) : Self.place(named)
            let reply = try ConsoleClient(place, timeout: timeout).send(line)
            let output = reply.lines.map { $0 + "\n" }.joined()
            let message = words.contains("--json") ? nil : reply.message
            let isFine = reply.status == .ok
            // Beside an answer that another program may read, it is not part of it.
            guard say(output.isEmpty && isFine ? message.map { $0 + "\n" } ?? "" : output, to: STDOUT_FILENO) else {
                say("\(program): cannot write to standard output: \(SystemError("write"))\n", to: STDERR_FILENO)
                return .failure
            }
            if let message, !isFine || !output.isEmpty {
                say(isFine ? "\(message)\n" : "\(program): \(message)\n", to: STDERR_FILENO)
            }
            return reply.status?.exitStatus ?? ConsoleClientError.exitStatus
        } catch {
            say("\(program): \(error)\n", to: STDERR_FILENO)
            return error is ConsoleClientError ? ConsoleClientError.exitStatus : ConsoleStatus.usage.exitStatus
        }
    }

    /// The place that is named or, without a name, that the settings say.
    package static func place(_ name: String?) throws -> ConsolePlace {
        guard let place = try name.map(parse) ?? setting() else { throw ConsoleClientError.notConfigured }
        return place
    }

    private static func parse(_ text: String) throws(SettingsError) -> ConsolePlace? {
        guard text != "off" else { return nil }
        do throws(ConsolePlaceError) {
            return try ConsolePlace(parsing: text)
        } catch {
            throw SettingsError(key: ConsolePlace.key, value: text, expected: error.expected)
        }
    }

    /// The place that the environment, or the settings file that it names, says. Nothing else in there matters.
    private static func setting() throws -> ConsolePlace? {
        let none = InMemoryProvider(values: [:])
        let providers = try MusterSettings.sources(
            arguments: none, environment: MusterSettings.environment, file: nil
        ).providers
        return try SettingsReader(config: ConfigReader(providers: providers)).text(ConsolePlace.key).flatMap(parse)
    }

    private static func usage(_ text: String, _ program: String) -> ExitStatus {
        say("\(program): \(text)\n", to: STDERR_FILENO)
        return ConsoleStatus.usage.exitStatus
    }

    /// A word as the console's lines have it.
    package static func quoted(_ word: String) -> String {
        word.isEmpty || word.contains(where: \.isWhitespace) || word.hasPrefix("\"") ? "\"\(word)\"" : word
    }

    private static func help(_ program: String) -> String {
        let commands = ConsoleCommand.table.filter { $0.name != "quit" }
        let width = commands.map(\.usage.count).max() ?? 0
        let lines = commands.map { command in
            "  \(command.usage)\(String(repeating: " ", count: width - command.usage.count))  \(command.help)\n"
        }
        return """
            usage: \(program) [--json] [--timeout DURATION] [--muster-console PLACE] COMMAND [ARGUMENT ...]

            \(lines.joined())
            The console is found by the setting muster.console: in the environment (MUSTER_CONSOLE), or in the settings file.

            Exit codes: 0 done, 1 failed, 2 no console, 3 a worker did not answer in time, 64 usage error.

            """
    }

    /// Returns whether all of it was written.
    @discardableResult
    private static func say(_ text: String, to descriptor: Int32) -> Bool {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            bytes.removeFirst(count)
        }
        return true
    }
}

/// Why there is no reply from a console.
package enum ConsoleClientError: Error, Hashable, Sendable, CustomStringConvertible {
    /// No place is set.
    case notConfigured
    /// The console is at a port that only its log says.
    case unknownPort
    case cannotConnect(String, SystemError)
    /// Several processes listen at what a template or a range stands for.
    case ambiguous([String])
    /// The console does not serve this client.
    case refused(String)
    case noReply
    case interrupted
    case closed
    /// What answers is not a console.
    case notAConsole

    /// The exit status of a client.
    package static let exitStatus = ExitStatus(rawValue: 2)

    package var description: String {
        switch self {
        case .notConfigured:
            "no console is configured; set \(Setting.spellings(of: ConsolePlace.key))"
        case .unknownPort: "the console listens at any free port; use the port in its log"
        case .cannotConnect(let place, let error):
            switch error.code {
            case ENOENT, ECONNREFUSED:
                "no console at \(place): is the program running, with muster.console set to this?"
            case EACCES:
                "no access to the console at \(place): use the program's user, or root"
            case EAGAIN, EINPROGRESS:
                "the console at \(place) accepts no connection in time: is the program stopped?"
            default:
                "cannot connect to the console at \(place): \(error)"
            }
        case .ambiguous(let paths): "several candidates: use one of \(paths.joined(separator: ", "))"
        case .refused(let reason): "refused: \(reason)"
        case .noReply: "no reply in time"
        case .interrupted: "interrupted"
        case .closed: "the console has closed the connection"
        case .notAConsole: "what answers there is not a console"
        }
    }
}
