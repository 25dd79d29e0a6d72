// SPDX-License-Identifier: Apache-2.0

/// A file of Prometheus' rules.
struct RuleFile: Decodable, Sendable {
    struct Group: Decodable, Sendable {
        let name: String
        let rules: [Rule]
    }

    struct Rule: Decodable, Sendable {
        let alert: String?
        let record: String?
        let expr: String
        let labels: [String: String]?
        let annotations: [String: String]?

        var name: String { alert ?? record ?? "" }
    }

    let groups: [Group]

    var alerts: [Rule] { groups.flatMap(\.rules).filter { $0.alert != nil } }
    var records: [Rule] { groups.flatMap(\.rules).filter { $0.record != nil } }

    static func alerts() async throws -> RuleFile {
        try await Repository.evaluate("(import 'mixin.libsonnet').prometheusAlerts", as: RuleFile.self)
    }

    static func records() async throws -> RuleFile {
        try await Repository.evaluate("(import 'mixin.libsonnet').prometheusRules", as: RuleFile.self)
    }
}
