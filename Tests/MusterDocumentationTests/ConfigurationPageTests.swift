// SPDX-License-Identifier: Apache-2.0

import Configuration
import Foundation
import Testing

@testable import Muster

/// Compares the page's table with what the code makes of each key.
@Suite("The page of settings")
struct ConfigurationPageTests {
    /// A row of the table.
    private struct Row {
        let key: String
        let environment: String
        let argument: String
        let defaultValue: String
        let afterSIGHUP: String
    }

    /// A value for each key that is not its default.
    private static let others = [
        "muster.endpoint.address": "127.0.0.1:1",
        "muster.endpoint.web-config-file": "/etc/muster/web.yml",
        "muster.endpoint.open-probes": "true",
        "muster.graceful-shutdown-timeout": "1s",
        "muster.shutdown-delay": "1s",
        "muster.startup-timeout": "1s",
        "muster.liveness-limit": "1s",
        "muster.abort-grace": "1s",
        "muster.restart-method": "mutate",
        "muster.start-method": "spawn",
        "muster.early-restart": "false",
        "muster.restart-backoff.base": "1s",
        "muster.restart-backoff.maximum": "1s",
        "muster.restart-backoff.stable-time": "1s",
        "muster.restart-intensity.maximum": "1",
        "muster.restart-intensity.period": "1s",
        "muster.restart-intensity.when-exceeded": "escalate",
        "muster.recycle.memory": "64MiB",
        "muster.recycle.age": "1h",
        "muster.recycle.minimum-age": "1s",
        "muster.ready-condition": "every-worker",
        "muster.live-condition": "supervisor",
        "muster.arena-capacity": "8192",
        "muster.console": "/run/console.sock",
        "muster.log-options": "false",
        "muster.settings-watch": "true",
        "muster.run-external-periodic-tasks": "false",
    ]

    private static func rows() throws -> [String: Row] {
        var rows: [String: Row] = [:]
        for cells in try Repository.page("docs/configuration.md").rows where cells.count == 6 {
            let texts = cells.map { $0.replacing("`", with: "") }
            guard texts[0].hasPrefix("muster.") else { continue }
            rows[texts[0]] = Row(
                key: texts[0], environment: texts[1], argument: texts[2], defaultValue: texts[4], afterSIGHUP: texts[5])
        }
        return rows
    }

    /// Settings in a form that can be compared; where the endpoint's address comes from is no part of it.
    private static func text(_ providers: [any ConfigProvider]) throws -> String {
        try text(MusterSettings(config: ConfigReader(providers: providers)))
    }

    private static func text(_ settings: MusterSettings) -> String {
        var settings = settings
        settings.endpoint?.addressSetting = ""
        // Where the values came from is not what they mean.
        settings.loaded = nil
        return "\(settings)"
    }

    private static func settings(_ key: String, _ value: String) throws -> MusterSettings {
        let variable = EnvironmentVariablesProvider(environmentVariables: [environment(key): value])
        return try MusterSettings(config: ConfigReader(provider: variable))
    }

    private static func environment(_ key: String) -> String {
        key.uppercased().replacing(/[.-]/, with: "_")
    }

    @Test("has a row for each setting, as the code's table has it, and no row for another")
    func keys() throws {
        let page = try String(contentsOf: Repository.root.appending(path: "docs/configuration.md"), encoding: .utf8)
        let lines = page.split(separator: "\n")
        for setting in MusterSettings.table {
            let value = setting.defaultValue.map { "`\($0)`" } ?? "none"
            let row = """
                | `\(setting.key)` | `\(setting.variable)` | `\(setting.argument)` | \(setting.syntax) | \(value) \
                | \(setting.reload.rawValue)
                """
            #expect(lines.contains { $0.hasPrefix(row) }, "\(row)")
        }
        #expect(try Set(Self.rows().keys) == Set(MusterSettings.table.map(\.key)))
        #expect(Set(Self.others.keys).union([MusterSettings.fileKey]) == Set(MusterSettings.table.map(\.key)))
    }

    @Test("explains each setting in the words of the code's table")
    func meanings() throws {
        let page = try String(contentsOf: Repository.root.appending(path: "docs/configuration.md"), encoding: .utf8)
        let words = page.replacing(/\s+/, with: " ")
        for setting in MusterSettings.table {
            let item = "- `\(setting.key.dropFirst("muster.".count))`: \(setting.text)"
            #expect(words.contains(item), "\(item)")
        }
    }

    @Test("tells the default that holds without the key")
    func defaults() throws {
        let unset = Self.text(MusterSettings())
        for row in try Self.rows().values where row.defaultValue != "none" {
            let settings = try Self.settings(row.key, row.defaultValue)
            #expect(Self.text(settings) == unset, "\(row.key)")
        }
    }

    @Test("tells the environment variable and the argument that set it")
    func spellings() throws {
        let unset = Self.text(MusterSettings())
        let rows = try Self.rows()
        for (key, other) in Self.others {
            guard let row = rows[key] else { continue }
            let variables = EnvironmentVariablesProvider(environmentVariables: [row.environment: other])
            #expect(try Self.text([variables]) != unset, "\(row.environment)")
            let arguments = CommandLineArgumentsProvider(arguments: ["program", row.argument, other])
            #expect(try Self.text([arguments]) != unset, "\(row.argument)")
        }
    }

    @Test("tells which settings a running supervisor takes up")
    func reloads() throws {
        let unset = Self.text(MusterSettings())
        let rows = try Self.rows()
        for (key, other) in Self.others {
            guard let row = rows[key] else { continue }
            let read = try Self.settings(key, other)
            let isTakenUp = Self.text(MusterSettings().takingUp(read)) != unset
            #expect(["at once", "next worker"].contains(row.afterSIGHUP) == isTakenUp, "\(key)")
            #expect(row.afterSIGHUP.hasPrefix("next start") != isTakenUp, "\(key)")
        }
    }
}
