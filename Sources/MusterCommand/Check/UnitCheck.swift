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
