// SPDX-License-Identifier: Apache-2.0

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
