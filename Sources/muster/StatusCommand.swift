// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import CMuster
import Glibc
import Muster
import MusterCommand
import MusterLock
import MusterPlatform

/// `muster status`
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show the workers, looping calls and health checks of a running service.",
        discussion: """
            Requests /status from the service's endpoint. On a narrow terminal the least important columns are left \
            out.

            Examples:
              muster status
              muster status --watch --interval 5s web1:9917
              muster status https://web1:9917 --ca-file ca.pem --user ops
              muster status unix:/run/mailer/endpoint.sock
              muster status --json | jq '.workers[].state'

            Exit codes:
              0   the service is live and ready
              1   the service is not live or not ready
              2   no status: no answer, wrong password, not an endpoint, …
              64  usage error
            With --watch it is the exit code of the last request.
            """)

    @Argument(
        help: ArgumentHelp(
            """
            The endpoint: http://HOST:PORT, https://HOST:PORT, HOST:PORT, unix:PATH or https+unix:PATH. (default: \
            $MUSTER_URL, or \(StatusTarget.standard))
            """,
            valueName: "url"),
        completion: .list([StatusTarget.standard, "http://", "https://", "unix:/"]))
    var url: String?

    @Flag(
        name: [.short, .long], help: "Refresh until interrupted, in place on a terminal.")
    var watch = false

    @Option(
        help: ArgumentHelp("With --watch, the time between two requests, such as 500ms or 5s.", valueName: "duration"))
    var interval: DurationArgument = "2s"

    @Option(help: ArgumentHelp("With --watch, stop after this many requests. (default: no limit)", valueName: "n"))
    var count: Int?

    @Flag(
        help: """
            Print the JSON document as received, with line breaks on a terminal only; with --watch one line per request.
            """)
    var json = false

    @OptionGroup(title: "Access options") var access: AccessOptions

    @Option(help: ArgumentHelp("How long a response may take.", valueName: "duration"))
    var timeout: DurationArgument = "5s"

    @Flag(help: "Disable colours, as NO_COLOR and TERM=dumb do.")
    var noColor = false

    func validate() throws {
        guard interval.duration >= .milliseconds(100) else {
            throw ValidationError("'--interval' must be 100ms or more, not \(interval.text).")
        }
        guard timeout.duration >= .milliseconds(1), timeout.duration <= .seconds(3600) else {
            throw ValidationError("'--timeout' must be from 1ms to 1h, not \(timeout.text).")
        }
        if let count, count < 1 { throw ValidationError("'--count' must be 1 or more, not \(count).") }
        guard count == nil || watch else { throw ValidationError("'--count' requires '--watch'.") }
        try access.validate()
        _ = try target()
    }

    private func target() throws -> StatusTarget {
        let named = url.map { ($0, "") } ?? Environment.value("MUSTER_URL").map { ($0, "MUSTER_URL: ") }
        do {
            return try StatusTarget(parsing: named?.0 ?? StatusTarget.standard)
        } catch {
            throw ValidationError((named?.1 ?? "") + "\(error).")
        }
    }

    func run() throws {
        let target = try target()
        let client = CurlClient(access: try access.read(), limit: timeout.duration)
        let style = Style(
            isTerminal: Terminal.isOutput, isRefused: noColor, environment: { Environment.value($0) })
        let exit = watch ? runAgainAndAgain(target, client, style) : runOnce(target, client, style)
        throw ExitCode(Terminal.end(exit).rawValue)
    }

    private func runOnce(_ target: StatusTarget, _ client: CurlClient, _ style: Style) -> CommandExit {
        switch client.fetch(target, interruptedBy: nil) {
        case .success(let answer):
            if json {
                let text = Terminal.isOutput ? JSONText.pretty(answer.document) : answer.document
                Terminal.write(String(decoding: text, as: UTF8.self))
                if text.last != UInt8(ascii: "\n") { Terminal.write("\n") }
            } else {
                let lines = StatusView(answer.report, width: Terminal.size.width, style: style).lines
                Terminal.write(lines.joined(separator: "\n") + "\n")
            }
            return answer.exit
        case .failure(let failure):
            Terminal.complain("muster: " + failure.message(for: target) + proxyNote(target))
            return .failure
        }
    }

    private func proxyNote(_ target: StatusTarget) -> String {
        guard let proxy = target.proxy(environment: { Environment.value($0) }) else { return "" }
        return " (by the proxy \(StatusTarget.withoutPassword(proxy.url)), which \(proxy.variable) names)"
    }

    private func runAgainAndAgain(_ target: StatusTarget, _ client: CurlClient, _ style: Style) -> CommandExit {
        let signals = WatchSignals()
        let form: Watch.Form = json ? .documents : Terminal.isOutput ? .screen : .pages
        var watch = Watch(
            target, form: form, style: style, interval: interval.duration,
            in: Watch.Surroundings(
                fetch: { client.fetch(target, interruptedBy: signals.descriptor) },
                wait: { Terminal.hasFailed ? .ended : signals.wait(for: $0) }, suspend: { _ = kill(getpid(), SIGSTOP) },
                write: { Terminal.write($0) }, complain: { Terminal.complain("muster: " + $0 + proxyNote(target)) },
                size: { Terminal.size }, time: { Terminal.time }))
        return watch.run(limit: count)
    }
}

/// The signals that a watch heeds, as a descriptor that can be waited for.
struct WatchSignals {
    /// Readable when there is a signal; `nil` where the system gives none, and signals do what they usually do.
    let descriptor: Int32?

    init() {
        let pipe = cmuster_signal_pipe_open()
        descriptor = pipe >= 0 ? pipe : nil
        guard pipe >= 0 else { return }
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP] { _ = cmuster_signal_install(signal) }
    }

    /// Waits for a signal, for so long at most.
    ///
    /// - Parameter others: Descriptors that end the wait as well when they are readable; negative ones are none.
    func wait(for limit: Duration, orReadable others: [Int32] = []) -> Watch.Event {
        let end = ContinuousClock.now.advanced(by: limit)
        while true {
            let left = max(.zero, end - ContinuousClock.now)
            var waits = ([descriptor ?? -1] + others).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            let (seconds, attoseconds) = left.components
            let milliseconds = min(
                Int64(Int32.max), seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
            let count = poll(&waits, nfds_t(waits.count), Int32(milliseconds))
            if count == 0 { return .due }
            guard count > 0 else { continue }
            if waits[0].revents == 0 { return .due }
            var number: UInt8 = 0
            guard let descriptor, read(descriptor, &number, 1) == 1 else { continue }
            switch Int32(number) {
            case SIGWINCH: return .resized
            case SIGTSTP: return .suspended
            default: return .ended
            }
        }
    }
}

/// Standard output and error.
enum Terminal {
    /// Whether standard output is a terminal.
    static var isOutput: Bool { isatty(STDOUT_FILENO) == 1 }

    /// Lines in a pipe are as long as they need to be.
    private static let endless = 1000

    /// Width and height of the terminal. `COLUMNS` stands for what is no terminal.
    static var size: (width: Int, height: Int) {
        var size = winsize()
        if isOutput, ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 {
            return (Int(size.ws_col), Int(size.ws_row))
        }
        if let columns = Environment.value("COLUMNS").flatMap({ Int($0) }), (1...endless).contains(columns) {
            return (columns, 0)
        }
        return isOutput ? (80, 24) : (endless, 0)
    }

    /// How wide a terminal is; `nil` for what is none.
    static func width(of descriptor: Int32) -> Int? {
        guard isatty(descriptor) == 1 else { return nil }
        var size = winsize()
        return ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
    }

    /// The time of day.
    static var time: String {
        var now = Glibc.time(nil)
        var parts = tm()
        localtime_r(&now, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
    }

    private static let failure = Locked<SystemError?>(nil)

    /// Whether standard output has refused something.
    static var hasFailed: Bool { failure.withLock { $0 != nil } }

    /// The exit code of a command, which has failed if its output could not be written.
    static func end(_ exit: CommandExit) -> CommandExit {
        guard let error = failure.withLock({ $0 }) else { return exit }
        complain("muster: cannot write to standard output: \(error)")
        return .failure
    }

    /// Writes to standard output at once.
    static func write(_ text: String) {
        guard let error = write(text, to: STDOUT_FILENO) else { return }
        failure.withLock { $0 = $0 ?? error }
    }

    /// Writes a line to standard error.
    static func complain(_ line: String) { _ = write(line + "\n", to: STDERR_FILENO) }

    /// Writes to standard error, without a line break.
    static func progress(_ text: String) { _ = write(text, to: STDERR_FILENO) }

    private static func write(_ text: String, to descriptor: Int32) -> SystemError? {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                bytes = bytes.dropFirst(count)
            } else if count < 0, errno == EAGAIN {
                var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = poll(&wait, 1, -1)
            } else if count < 0, errno != EINTR {
                return SystemError("write")
            }
        }
        return nil
    }
}
