// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterPlatform

/// Checks systemd units against the settings that a program started by them would have.
public struct UnitCheck: Sendable {
    /// What was found, by unit.
    public private(set) var findings: [(unit: String, findings: [Finding])] = []

    /// The settings of each service.
    public private(set) var services: [SettingsCheck] = []

    private let units: [UnitFile]
    private let base: SettingsInput

    /// Checks units.
    ///
    /// - Parameters:
    ///   - files: The paths of service and socket units, with what is in them.
    ///   - base: Arguments and settings' file that are added to what each service unit has. Of the environment nothing
    ///     is taken: systemd hands none of it down.
    ///   - read: Reads a text file that a unit names.
    public init(
        _ files: [(path: String, text: String)], base: SettingsInput,
        read: (String) -> Result<String, ReadFailure>
    ) {
        units = files.map { UnitFile(path: $0.path, text: $0.text) }
        self.base = base
        for unit in units {
            var found = unit.problems.map {
                Finding(.warning, unit.place($0.line), "\($0.reason); systemd ignores the line")
            }
            found += Self.checkSections(of: unit)
            if unit.name.hasSuffix(".service") {
                found += checkService(unit, read)
            } else if unit.name.hasSuffix(".socket") {
                found += checkSocket(unit)
            } else {
                found.append(
                    Finding(.note, unit.place(), "is no .service or .socket unit; only its form was looked at"))
            }
            // By line, so that they can be gone through with the file at hand.
            let sorted = found.enumerated().sorted { one, other in
                (one.element.place.source, one.element.place.line ?? 0, one.offset)
                    < (other.element.place.source, other.element.place.line ?? 0, other.offset)
            }
            findings.append((unit.path, sorted.map(\.element)))
        }
    }

    // MARK: Form

    private static let sections = ["Unit", "Service", "Socket", "Install"]

    private static func checkSections(of unit: UnitFile) -> [Finding] {
        var findings: [Finding] = []
        for section in unit.sections where !sections.contains(section.name) && !section.name.hasPrefix("X-") {
            let nearest = NearestName.find(section.name, among: sections).map { "; did you mean [\($0)]?" } ?? ""
            findings.append(
                Finding(
                    .warning, unit.place(section.line), "[\(section.name)] is no section of such a unit\(nearest)"))
        }
        return findings
    }

    // MARK: Services

    private mutating func checkService(
        _ unit: UnitFile, _ read: (String) -> Result<String, ReadFailure>
    ) -> [Finding] {
        let program = UnitProgram(unit, base: base, read: read)
        let settings = SettingsCheck(program.input, read: read)
        services.append(settings)
        var findings = program.findings + settings.findings + SettingsRelations.findings(settings)
        findings += ServiceUnitRules(unit: unit, settings: settings.settings).findings
        findings += checkSockets(of: unit, addresses: addresses(settings, program), settings)
        return findings
    }

    /// The sockets that a service wants of systemd, with the place that says so.
    private func addresses(_ check: SettingsCheck, _ program: UnitProgram) -> [(name: String, place: Finding.Place)] {
        var result: [(String, Finding.Place)] = []
        if case .systemd(let name) = check.settings.endpoint?.address {
            result.append((name, check.place(of: "muster.endpoint.address") ?? Finding.Place("settings")))
        }
        // Options of the application's own are written in the same way.
        for argument in program.input.arguments {
            let value = argument.split(separator: "=", maxSplits: 1).last.map(String.init) ?? argument
            guard value.hasPrefix("systemd:"), case .systemd(let name) = try? ListenAddress(parsing: value),
                !result.contains(where: { $0.0 == name })
            else { continue }
            result.append((name, program.input.argumentsPlace))
        }
        return result
    }

    private func checkSockets(
        of unit: UnitFile, addresses: [(name: String, place: Finding.Place)], _ check: SettingsCheck
    ) -> [Finding] {
        let sockets = units.filter { $0.name.hasSuffix(".socket") && Self.service(of: $0, beside: unit) == unit.name }
        let names = sockets.map(Self.descriptorName)
        var findings: [Finding] = []
        for (name, place) in addresses {
            if sockets.isEmpty {
                findings.append(
                    Finding(
                        .note, place,
                        "systemd:\(name) is a socket of a socket unit; name that unit, too, to have it checked"))
            } else if !names.contains(name) {
                let list = names.map { "'\($0)'" }.joined(separator: ", ")
                findings.append(
                    Finding(
                        .error, place,
                        """
                        systemd:\(name) is none of the sockets that \(unit.name) is given (\(list)); set \
                        FileDescriptorName=\(name) in the socket unit
                        """))
            } else if names.count(where: { $0 == name }) > 1 {
                findings.append(
                    Finding(
                        .error, place,
                        """
                        several socket units hand over a socket named '\(name)'; give each a FileDescriptorName of its \
                        own
                        """
                    ))
            }
        }
        return findings
    }

    // MARK: Sockets

    private static func descriptorName(_ socket: UnitFile) -> String {
        socket.last("Socket", "FileDescriptorName")?.value ?? socket.name
    }

    /// The service that a socket is handed to. A service that lists it in `Sockets=` gets it, too.
    private static func service(of socket: UnitFile, beside service: UnitFile) -> String {
        let listed = service.all("Service", "Sockets").flatMap { $0.value.split(separator: " ").map(String.init) }
        if listed.contains(socket.name) { return service.name }
        return socket.last("Socket", "Service")?.value ?? String(socket.name.dropLast(".socket".count)) + ".service"
    }

    private func checkSocket(_ unit: UnitFile) -> [Finding] {
        var findings: [Finding] = []
        if let accept = unit.last("Socket", "Accept"), SystemdWord.isTrue(accept.value) {
            findings.append(
                Finding(
                    .error, unit.place(accept.line),
                    """
                    Accept=\(accept.value) hands over single connections, and the program needs the listening socket; \
                    remove it
                    """))
        }
        let name = unit.last("Socket", "FileDescriptorName")
        if (try? ListenAddress(parsing: "systemd:\(Self.descriptorName(unit))")) == nil {
            findings.append(
                Finding(
                    .error, unit.place(name, orSection: "Socket"),
                    "'\(Self.descriptorName(unit))' is no name of a socket: 1 to 255 ASCII characters without ':'"))
        }
        let services = units.filter { $0.name.hasSuffix(".service") }
        let isWanted = services.contains { Self.service(of: unit, beside: $0) == $0.name }
        if let first = services.first, !isWanted {
            let target = Self.service(of: unit, beside: first)
            findings.append(
                Finding(
                    .warning, unit.place(unit.last("Socket", "Service"), orSection: "Socket"),
                    "its socket is handed to \(target); set Service=\(first.name) if that one is meant"))
        }
        if unit.assignments.allSatisfy({ !$0.key.hasPrefix("Listen") }) {
            findings.append(
                Finding(
                    .error, unit.place(nil, orSection: "Socket"), "it listens nowhere; set ListenStream=, as in 8080"))
        }
        return findings
    }
}

/// A systemd unit file, read as systemd.syntax(7) has it.
struct UnitFile: Hashable, Sendable {
    /// One setting in a section.
    struct Assignment: Hashable, Sendable {
        let section: String
        let key: String
        let value: String
        /// The line that it begins in, from 1 on.
        let line: Int
    }

    /// A line that systemd ignores, with a complaint in its log.
    struct Problem: Hashable, Sendable {
        let line: Int
        let reason: String
    }

    /// The file's path as it was given.
    let path: String
    private(set) var assignments: [Assignment] = []
    private(set) var sections: [(name: String, line: Int)] = []
    private(set) var problems: [Problem] = []

    static func == (one: UnitFile, other: UnitFile) -> Bool {
        one.path == other.path && one.assignments == other.assignments && one.problems == other.problems
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(path)
        hasher.combine(assignments)
    }

    /// Reads a unit file. Nothing in it is an error: systemd goes on past what it does not understand.
    ///
    /// - Parameters:
    ///   - path: Its path; the last part is the unit's name.
    ///   - text: What is in it.
    init(path: String, text: String) {
        self.path = path
        var section: String?
        for (line, text) in Self.logicalLines(text) {
            if text.hasPrefix("[") {
                guard text.hasSuffix("]"), text.count > 2 else {
                    problems.append(Problem(line: line, reason: "'\(text)' is no section; it is written [Service]"))
                    continue
                }
                let name = String(text.dropFirst().dropLast())
                section = name
                sections.append((name, line))
                continue
            }
            guard let equals = text.firstIndex(of: "="), equals > text.startIndex else {
                problems.append(Problem(line: line, reason: "'\(text)' is no setting; one is written Name=value"))
                continue
            }
            let key = String(text[..<equals]).trimmed
            guard let section else {
                problems.append(
                    Problem(line: line, reason: "'\(key)' stands before any section; write [Service] or so above it"))
                continue
            }
            let value = String(text[text.index(after: equals)...]).trimmed
            assignments.append(Assignment(section: section, key: key, value: value, line: line))
        }
    }

    /// The lines that mean something, with those that end with a backslash joined to the next.
    private static func logicalLines(_ text: String) -> [(line: Int, text: String)] {
        var result: [(Int, String)] = []
        var pending: (line: Int, text: String)?
        for (index, raw) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let trimmed = String(raw).trimmed
            // Comments may stand between the parts of one setting.
            if trimmed.hasPrefix("#") || trimmed.hasPrefix(";") { continue }
            let continues = raw.hasSuffix("\\")
            let part = continues ? String(raw.dropLast()) : String(raw)
            let start = pending?.line ?? index + 1
            let joined = pending.map { $0.text + " " + part } ?? part
            if continues {
                pending = (start, joined)
                continue
            }
            pending = nil
            if !joined.trimmed.isEmpty { result.append((start, joined.trimmed)) }
        }
        if let pending, !pending.text.trimmed.isEmpty { result.append((pending.line, pending.text.trimmed)) }
        return result
    }

    /// The unit's name, `mailer.service`.
    var name: String { path.split(separator: "/").last.map(String.init) ?? path }

    /// The assignment that counts where one value is wanted: the last one. An empty one takes the default back.
    func last(_ section: String, _ key: String) -> Assignment? {
        let last = assignments.last { $0.section == section && $0.key == key }
        return last?.value.isEmpty == true ? nil : last
    }

    /// The assignments that count where they add up. An empty one takes those before it away.
    func all(_ section: String, _ key: String) -> [Assignment] {
        let all = assignments.filter { $0.section == section && $0.key == key }
        guard let reset = all.lastIndex(where: \.value.isEmpty) else { return all }
        return Array(all[(reset + 1)...])
    }

    func place(_ line: Int? = nil) -> Finding.Place { Finding.Place(path, line: line) }

    func place(_ assignment: Assignment?, orSection section: String) -> Finding.Place {
        place(assignment?.line ?? sections.first { $0.name == section }?.line)
    }
}

/// What a service unit gives to the program that it starts: environment and arguments.
struct UnitProgram {
    /// What the program would read its settings from.
    private(set) var input: SettingsInput
    /// What was found on the way.
    private(set) var findings: [Finding] = []

    private let unit: UnitFile

    init(_ unit: UnitFile, base: SettingsInput, read: (String) -> Result<String, ReadFailure>) {
        self.unit = unit
        input = SettingsInput(file: base.file)
        readEnvironment()
        readEnvironmentFiles(read)
        readCommand()
        if !base.arguments.isEmpty {
            input.arguments += base.arguments
            input.argumentsPlace = base.argumentsPlace
        }
    }

    // MARK: Environment

    private mutating func readEnvironment() {
        for assignment in unit.all("Service", "Environment") {
            let place = unit.place(assignment.line)
            guard let words = UnitWords.split(assignment.value) else {
                findings.append(Finding(.warning, place, "Environment= has a quotation without an end"))
                continue
            }
            for word in words { set(word, at: place) }
        }
    }

    private mutating func set(_ word: String, at place: Finding.Place) {
        guard let equals = word.firstIndex(of: "="), equals > word.startIndex else {
            findings.append(Finding(.warning, place, "'\(word)' is no variable; one is written NAME=value"))
            return
        }
        let name = String(word[..<equals])
        let value = String(word[word.index(after: equals)...]).replacing("%%", with: "\u{0}")
        if value.contains("%"), name.hasPrefix("MUSTER_") {
            findings.append(
                Finding(.note, place, "'\(name)' has a specifier that only systemd can fill in; it was not checked"))
            return
        }
        input.environment[name] = SettingsInput.Variable(value.replacing("\u{0}", with: "%"), at: place)
    }

    private mutating func readEnvironmentFiles(_ read: (String) -> Result<String, ReadFailure>) {
        for assignment in unit.all("Service", "EnvironmentFile") {
            let isOptional = assignment.value.hasPrefix("-")
            let path = isOptional ? String(assignment.value.dropFirst()) : assignment.value
            switch read(path) {
            case .failure(let failure):
                if !isOptional {
                    findings.append(
                        Finding(
                            .note, unit.place(assignment.line),
                            "the settings in \(path) were not checked: it \(failure)"))
                }
            case .success(let text):
                readEnvironmentFile(text, path)
            }
        }
    }

    private mutating func readEnvironmentFile(_ text: String, _ path: String) {
        for (index, raw) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let line = String(raw).trimmed
            guard !line.isEmpty, !line.hasPrefix("#"), !line.hasPrefix(";"), let equals = line.firstIndex(of: "=")
            else { continue }
            let name = String(line[..<equals]).trimmed
            let text = String(line[line.index(after: equals)...]).trimmed
            // Quotation marks around the value are no part of it.
            let value = UnitWords.split(text)?.joined(separator: " ") ?? text
            input.environment[name] = SettingsInput.Variable(value, at: Finding.Place(path, line: index + 1))
        }
    }

    // MARK: Command

    private mutating func readCommand() {
        guard let start = unit.all("Service", "ExecStart").first else {
            findings.append(
                Finding(
                    .error, unit.place(nil, orSection: "Service"), "it starts nothing; set ExecStart= to the program"))
            return
        }
        let place = unit.place(start.line)
        input.argumentsPlace = place
        guard let words = UnitWords.split(start.value), let first = words.first else {
            findings.append(Finding(.warning, place, "ExecStart= has a quotation without an end"))
            return
        }
        let program = first.drop { "@-:+!|".contains($0) }
        if !program.hasPrefix("/"), !program.contains("%") {
            findings.append(
                Finding(
                    .note, place,
                    "'\(program)' is no absolute path: systemd looks for it in its own list of folders"))
        }
        // What systemd fills in is not known here.
        let known = words.dropFirst().map { $0.replacing("%%", with: "\u{0}").replacing("$$", with: "\u{1}") }
        input.arguments = known.filter { !$0.contains("$") && !$0.contains("%") }
            .map { $0.replacing("\u{0}", with: "%").replacing("\u{1}", with: "$") }
    }
}

/// The words of a setting's value, quoted as systemd.syntax(7) has it.
enum UnitWords {
    /// Splits a value into its words.
    ///
    /// - Parameter text: The value; `nil` is returned when a quotation has no end.
    static func split(_ text: String) -> [String]? {
        var words: [String] = []
        var word = ""
        var isWord = false
        var quote: Character?
        var characters = text.makeIterator()
        while let character = characters.next() {
            if let open = quote {
                if character == open {
                    quote = nil
                } else if character == "\\" {
                    guard let escaped = characters.next() else { return nil }
                    word.append(unescaped(escaped))
                } else {
                    word.append(character)
                }
            } else if character.isWhitespace {
                if isWord { words.append(word) }
                word = ""
                isWord = false
            } else if character == "\"" || character == "'", !isWord || word.hasSuffix("=") {
                quote = character
                isWord = true
            } else if character == "\\", let escaped = characters.next() {
                word.append(unescaped(escaped))
                isWord = true
            } else {
                word.append(character)
                isWord = true
            }
        }
        guard quote == nil else { return nil }
        if isWord { words.append(word) }
        return words
    }

    private static func unescaped(_ character: Character) -> Character {
        switch character {
        case "n": "\n"
        case "t": "\t"
        case "r": "\r"
        case "s": " "
        default: character
        }
    }
}

/// What a service unit should have, given the program's settings.
struct ServiceUnitRules {
    let unit: UnitFile
    let settings: MusterSettings

    /// What systemd takes where a unit says nothing (DefaultTimeoutStartSec, DefaultTimeoutStopSec).
    private static let defaultTimeout = Duration.seconds(90)
    /// The time that ending all processes takes once they were told to.
    private static let margin = Duration.seconds(5)

    var findings: [Finding] {
        [type, killMode, restart, memory, reload].compactMap(\.self) + stopTime + startTime + watchdog
    }

    private func setting(_ key: String) -> UnitFile.Assignment? { unit.last("Service", key) }

    private func finding(
        _ severity: Finding.Severity, _ setting: UnitFile.Assignment?, _ message: String
    ) -> Finding {
        Finding(severity, unit.place(setting, orSection: "Service"), message)
    }

    // MARK: How it is started

    private var typeName: String { setting("Type")?.value ?? (setting("BusName") == nil ? "simple" : "dbus") }
    private var notifies: Bool { typeName == "notify" || typeName == "notify-reload" }

    private var type: Finding? {
        let type = setting("Type")
        switch typeName {
        case "notify", "notify-reload": return nil
        case "forking", "oneshot":
            return finding(
                .error, type,
                "Type=\(typeName) is for programs that go into the background or end; set Type=notify")
        default:
            let what = type == nil ? "Type is not set, which means \(typeName)" : "Type=\(typeName)"
            return finding(
                .warning, type,
                "\(what): systemd does not learn when the service is ready, reloads or stops; set Type=notify")
        }
    }

    private var killMode: Finding? {
        let mode = setting("KillMode")
        switch mode?.value {
        case "mixed": return nil
        case "process":
            return finding(
                .warning, mode,
                "KillMode=process leaves behind what workers have started themselves; set KillMode=mixed")
        case "none":
            return finding(.error, mode, "KillMode=none lets nothing be ended at the time-out; set KillMode=mixed")
        default:
            return finding(
                .warning, mode,
                """
                \(mode.map { "KillMode=\($0.value)" } ?? "KillMode is not set"), so that systemd sends SIGTERM to the \
                workers, too, and they stop before the shutdown delay is over; set KillMode=mixed
                """)
        }
    }

    private var restart: Finding? {
        let restart = setting("Restart")
        switch restart?.value {
        case "always", "on-failure": return nil
        case nil, "no":
            return finding(
                .warning, restart,
                """
                \(restart == nil ? "Restart is not set" : "Restart=no"): if the supervisor dies, the service stays \
                down; set Restart=on-failure
                """
            )
        default:
            return finding(
                .warning, restart,
                """
                Restart=\(restart?.value ?? "") does not start the service again after exit status 1, with which it \
                ends when it fails; set Restart=on-failure
                """)
        }
    }

    private var memory: Finding? {
        let policy = setting("OOMPolicy")
        // Who manages its own control groups is left alone by default.
        let isDelegate = setting("Delegate").map { !["no", "false", "0", "off"].contains($0.value) } ?? false
        guard policy?.value != "continue", policy != nil || !isDelegate else { return nil }
        return finding(
            .warning, policy,
            """
            \(policy.map { "OOMPolicy=\($0.value)" } ?? "OOMPolicy is not set, which means stop"): systemd ends the \
            whole service when the kernel kills one worker for its memory, which would be replaced; set \
            OOMPolicy=continue
            """)
    }

    private var reload: Finding? {
        if typeName == "notify-reload" {
            guard let signal = setting("ReloadSignal"), !["HUP", "SIGHUP", "1"].contains(signal.value) else {
                return nil
            }
            return finding(
                .error, signal, "ReloadSignal=\(signal.value) reloads nothing; the program reloads at SIGHUP")
        }
        guard setting("ExecReload") == nil else { return nil }
        return finding(
            .note, nil, "`systemctl reload` is refused without ExecReload=kill -HUP $MAINPID")
    }

    // MARK: Times

    /// A time span of the unit: as it is set, or systemd's default.
    private func time(
        _ key: String, _ findings: inout [Finding]
    ) -> (assignment: UnitFile.Assignment?, limit: Duration?)? {
        let assignment = setting(key) ?? (key.hasPrefix("Timeout") ? setting("TimeoutSec") : nil)
        guard let assignment else { return (nil, Self.defaultTimeout) }
        switch SystemdDuration(parsing: assignment.value) {
        case .infinite: return (assignment, nil)
        // Zero turns these time-outs off.
        case .limited(.zero): return (assignment, nil)
        case .limited(let limit): return (assignment, limit)
        case nil:
            findings.append(
                finding(
                    .error, assignment,
                    "\(assignment.key)=\(assignment.value) is no time span; it is written 70, 70s or 1min 10s"))
            return nil
        }
    }

    private func said(_ key: String, _ assignment: UnitFile.Assignment?, _ limit: Duration) -> String {
        assignment.map { "\($0.key) is \(limit.text)" } ?? "\(key) is not set, which means \(limit.text)"
    }

    private var stopTime: [Finding] {
        var findings: [Finding] = []
        guard let (assignment, limit) = time("TimeoutStopSec", &findings), let limit else { return findings }
        let what = said("TimeoutStopSec", assignment, limit)
        guard settings.gracefulShutdownTimeout > .zero else {
            findings.append(
                finding(
                    .warning, assignment,
                    """
                    \(what), and muster.graceful-shutdown-timeout is 0, for ever: systemd kills what still stops then; \
                    set TimeoutStopSec=infinity, or a limit in the settings
                    """))
            return findings
        }
        let needed = settings.shutdownDelay + settings.gracefulShutdownTimeout
        let enough = (needed + Self.margin).inSeconds.rounded(.up)
        let sum =
            """
            muster.shutdown-delay (\(settings.shutdownDelay.text)) and muster.graceful-shutdown-timeout \
            (\(settings.gracefulShutdownTimeout.text)) together
            """
        if limit <= needed {
            findings.append(
                finding(
                    .error, assignment,
                    """
                    \(what), which is not more than \(sum), so that systemd kills what still stops; set \
                    TimeoutStopSec to at least \(Int(enough))
                    """))
        } else if limit < needed + Self.margin {
            findings.append(
                finding(
                    .warning, assignment,
                    "\(what), hardly more than \(sum); set TimeoutStopSec to at least \(Int(enough))"))
        }
        return findings
    }

    private var startTime: [Finding] {
        guard notifies else { return [] }
        var findings: [Finding] = []
        guard let (assignment, limit) = time("TimeoutStartSec", &findings), let limit else { return findings }
        let what = said("TimeoutStartSec", assignment, limit)
        if settings.startupTimeout == .zero {
            findings.append(
                finding(
                    .note, assignment,
                    "\(what): systemd ends a start that takes longer, although muster.startup-timeout is 0, for ever"))
        } else if limit <= settings.startupTimeout {
            let enough = (settings.startupTimeout + .seconds(30)).inSeconds.rounded(.up)
            findings.append(
                finding(
                    .warning, assignment,
                    """
                    \(what), which is not more than muster.startup-timeout (\(settings.startupTimeout.text)), so that \
                    systemd gives up before a worker that does not come up is replaced; set TimeoutStartSec to at \
                    least \(Int(enough))
                    """))
        }
        return findings
    }

    private var watchdog: [Finding] {
        guard let assignment = setting("WatchdogSec") else {
            return [
                finding(
                    .note, nil,
                    "without WatchdogSec= nobody notices a supervisor that hangs; set WatchdogSec=30, for example")
            ]
        }
        var findings: [Finding] = []
        guard let (_, limit) = time("WatchdogSec", &findings), let limit else { return findings }
        if limit < settings.livenessLimit {
            findings.append(
                finding(
                    .warning, assignment,
                    """
                    WatchdogSec is \(limit.text), less than muster.liveness-limit (\(settings.livenessLimit.text)): \
                    a stall that no worker would be replaced for ends the whole service; set WatchdogSec to at least \
                    \(Int((settings.livenessLimit * 2).inSeconds.rounded(.up)))
                    """))
        }
        if !notifies, ["none"].contains(setting("NotifyAccess")?.value) {
            findings.append(
                finding(.error, setting("NotifyAccess"), "NotifyAccess=none refuses what feeds the watchdog; remove it")
            )
        }
        return findings
    }
}

/// A time span as units have it (systemd.time(7)): `90`, `1min 30s`, `infinity`.
enum SystemdDuration: Hashable, Sendable {
    case limited(Duration)
    case infinite

    private static let units: [String: Double] = {
        var units: [String: Double] = [:]
        for (names, seconds) in [
            (["us", "usec", "\u{B5}s", "\u{3BC}s"], 1e-6), (["ms", "msec"], 1e-3),
            (["s", "sec", "second", "seconds"], 1), (["m", "min", "minute", "minutes"], 60),
            (["h", "hr", "hour", "hours"], 3600), (["d", "day", "days"], 86400),
            (["w", "week", "weeks"], 604_800), (["M", "month", "months"], 2_629_800),
            (["y", "year", "years"], 31_557_600),
        ] as [([String], Double)] {
            for name in names { units[name] = seconds }
        }
        return units
    }()

    /// Reads a time span.
    ///
    /// - Parameter text: The text; `nil` is returned for one that is no time span.
    init?(parsing text: String) {
        if text == "infinity" {
            self = .infinite
            return
        }
        var seconds = 0.0
        var rest = text[...].drop { $0.isWhitespace }
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
            guard let number = Double(digits) else { return nil }
            rest = rest[digits.endIndex...].drop { $0.isWhitespace }
            let unit = rest.prefix { !$0.isWhitespace && !($0.isASCII && $0.isNumber) }
            guard let factor = unit.isEmpty ? 1 : Self.units[String(unit)] else { return nil }
            seconds += number * factor
            rest = rest[unit.endIndex...].drop { $0.isWhitespace }
        }
        guard seconds < 9e9 else {
            self = .infinite
            return
        }
        self = .limited(.seconds(seconds))
    }
}

/// Words that units use.
enum SystemdWord {
    /// Whether a value means yes.
    static func isTrue(_ value: String) -> Bool { ["1", "yes", "true", "on", "y", "t"].contains(value.lowercased()) }
}
