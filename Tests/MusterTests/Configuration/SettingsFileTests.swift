// SPDX-License-Identifier: Apache-2.0

import Configuration
import Foundation
import MusterTestSupport
import Testing

@testable import Muster

@Suite("A settings file")
struct SettingsFileTests {
    private func load(
        _ text: String, environment: [String: String] = [:], folder: TemporaryFolder
    ) throws -> MusterSettings {
        let path = try folder.write(text, to: "settings.json")
        return try MusterSettings.load(
            arguments: CommandLineArgumentsProvider(arguments: ["program"]),
            environment: EnvironmentVariablesProvider(environmentVariables: environment), file: path)
    }

    private func error(of text: String, environment: [String: String] = [:]) throws -> String {
        let folder = try TemporaryFolder()
        let error = #expect(throws: (any Error).self) { try load(text, environment: environment, folder: folder) }
        return "\(error.map { "\($0)" } ?? "")".replacing(folder.path("settings.json"), with: "FILE")
    }

    @Test("is refused with file, line, setting, value and what it should be")
    func errors() throws {
        let names = "(environment MUSTER_LIVENESS_LIMIT, argument --muster-liveness-limit)"
        #expect(
            try error(of: "{\n\"muster\": {\n\"liveness-limit\": \"soon\"}}")
                == "FILE:3: setting 'muster.liveness-limit' \(names) is 'soon': expected a duration such as 500ms, 10s or 2m"
        )
        for value in ["true", "false", "null", "[]", "[1]"] {
            #expect(
                try error(of: "{\"muster\": {\"liveness-limit\": \(value)}}")
                    == "FILE:1: setting 'muster.liveness-limit' \(names) is '\(value)': expected duration above zero")
        }
        #expect(try error(of: "{\"muster\": {\"log-options\": 1}}").hasPrefix("FILE:1: setting 'muster.log-options'"))
        #expect(try error(of: "{\"muster\": {},\n\"muster\": {}}").hasPrefix("FILE:2: 'muster' appears twice"))
        #expect(
            try error(of: "{\"muster\": {\"liveness-limit\": 5,}}").hasPrefix("FILE:1: is not JSON: expected a key"))
        #expect(try error(of: "\u{FEFF}{}").hasPrefix("FILE:1: begins with a byte order mark"))
        #expect(try error(of: "").hasPrefix("FILE:1: is not JSON: expected '{'"))
        #expect(try error(of: "{\0}").hasPrefix("FILE: is not UTF-8"))
    }

    @Test("that is not there, or no file, is refused without waiting")
    func noFile() throws {
        let folder = try TemporaryFolder()
        let pipe = folder.path("pipe")
        #expect(mkfifo(pipe, 0o600) == 0)
        for path in [folder.path("none"), pipe, folder.url.path] {
            let error = #expect(throws: SettingsFileError.self) { try SettingsFile(reading: path) }
            #expect(error?.description.hasPrefix("\(path): cannot be read: ") == true)
        }
    }

    @Test("is not blamed for a value of the environment")
    func environment() throws {
        let text = "{\"muster\": {\"liveness-limit\": \"5s\"}}"
        #expect(
            try error(of: text, environment: ["MUSTER_LIVENESS_LIMIT": "x"]).hasPrefix(
                "setting 'muster.liveness-limit'"))
    }

    @Test("has its name and line told as the source of its values")
    func sources() throws {
        let folder = try TemporaryFolder()
        var settings = try load(
            "{\"muster\":\n {\"liveness-limit\": 5, \"abort-grace\": \"2s\",\n \"recycle\": {\"memory\": \"1GiB\"}}}",
            environment: ["MUSTER_ABORT_GRACE": "3000ms"], folder: folder)
        settings.shutdownDelay = .seconds(7)
        func told(_ key: String) -> [String] {
            settings.inForce.filter { $0.key == key }.flatMap { [$0.value, $0.source] }
        }
        let path = folder.path("settings.json")
        #expect(told("muster.liveness-limit") == ["5s", "\(path):2"])
        #expect(told("muster.recycle.memory") == ["1073741824", "\(path):3"])
        #expect(told("muster.abort-grace") == ["3s", "environment"])
        #expect(told("muster.shutdown-delay") == ["7s", "program"])
        #expect(told("muster.startup-timeout") == ["60s", "default"])
        #expect(told("muster.settings-file") == [path, "default"])
        #expect(settings.inForce.map(\.key) == MusterSettings.table.map(\.key))
        // What waits for the next start keeps its source, too.
        _ = try folder.write(
            "\n\n{\"muster\": {\"liveness-limit\": 6, \"arena-capacity\": 65536}}", to: "settings.json")
        settings = settings.takingUp(try #require(try settings.source?()))
        #expect(told("muster.liveness-limit") == ["6s", "\(path):3"])
        #expect(told("muster.arena-capacity").last == "default")
    }

    @Test("says the same whatever its layout")
    func content() throws {
        let folder = try TemporaryFolder()
        func content(_ text: String) throws -> SettingsFile.Content {
            SettingsFile.Content(of: try folder.write(text, to: "settings.json"))
        }
        let first = try content(#"{"muster": {"liveness-limit": 5}, "mine": [1, 2]}"#)
        #expect(try content("{\"mine\": [1, 2],\n\"muster\": {\"liveness-limit\": 5.0}}") == first)
        #expect(try content(#"{"muster": {"liveness-limit": "5"}, "mine": [1, 2]}"#) != first)
        #expect(try content(#"{"muster": {"liveness-limit": 5}, "mine": [1, 3]}"#) != first)
        #expect(try content("{\"muster\": {\"liveness-limit\": 5}, \"mine\": [\n  1,\n  2\n]}") == first)
        let texts = try content(#"{"mine": ["a b", "\" c", {"d": "e\\"}]}"#)
        #expect(try content(#"{"mine":["a b","\" c",{"d":"e\\"}]}"#) == texts)
        #expect(try content(#"{"mine":["ab","\" c",{"d":"e\\"}]}"#) != texts)
        #expect(try content(#"{"mine":["a b","\"c",{"d":"e\\"}]}"#) != texts)
        let broken = try content("{")
        #expect(try content("{") == broken)
        #expect(try content("{\n") != broken)
        #expect(SettingsFile.Content(of: folder.path("none")) != first)
    }

    @Test("is not the only place of names that are no settings")
    func unknown() {
        let unknown =
            UnknownSetting.of(variables: ["MUSTER_LIVENES_LIMIT", "MUSTER_BACKEND", "MUSTER_LIVENESS_LIMIT", "HOME"])
            + UnknownSetting.of(arguments: ["--muster-log-option=secret", "--muster-log-options=true", "--mine"])
        #expect(
            unknown.map(\.problem) == [
                "'MUSTER_LIVENES_LIMIT' is not a setting; did you mean 'MUSTER_LIVENESS_LIMIT'?",
                "'--muster-log-option' is not a setting; did you mean '--muster-log-options'?",
            ])
        #expect(unknown.allSatisfy { $0.isLikelyMistake })
        // What Kubernetes sets for a Service that is called so is the cluster's own.
        let links = [
            "SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR", "PORT_8080_TCP_PROTO",
        ]
        #expect(
            UnknownSetting.of(variables: ["MUSTER_", "MUSTER_DEMO_"].flatMap { prefix in links.map { prefix + $0 } })
                .allSatisfy { !$0.isLikelyMistake })
    }

    @Test("gives numbers, texts and booleans to the settings that take them, and keeps other keys to the application")
    func values() throws {
        let folder = try TemporaryFolder()
        let settings = try load(
            """
            {"muster": {"liveness-limit": 5, "abort-grace": "3s", "log-options": false, "arena-capacity": 65536},
             "mailer": {"liveness-limit": true, "x": null}, "mailer": {}}
            """, folder: folder)
        #expect(settings.livenessLimit == .seconds(5))
        #expect(settings.abortGrace == .seconds(3))
        #expect(!settings.logOptions)
        #expect(settings.arenaCapacity == 65536)
        let other = try load(
            #"{"muster": {"liveness-limit": 1.2e1, "abort-grace": "\u0033s", "arena-capacity": 6.5536e4}}"#,
            folder: folder)
        #expect(other.livenessLimit == .seconds(12))
        #expect(other.abortGrace == .seconds(3))
        #expect(other.arenaCapacity == 65536)
    }
}
