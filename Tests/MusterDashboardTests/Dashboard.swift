// SPDX-License-Identifier: Apache-2.0

/// What the checks look at of a dashboard in Grafana's classic JSON.
struct Dashboard: Decodable, Sendable {
    struct DataSource: Decodable, Sendable {
        var type: String?
        var uid: String?
    }

    struct Query: Decodable, Sendable {
        var query: String?

        init(from decoder: any Decoder) throws {
            // A data source's variable has a bare string.
            if let text = try? decoder.singleValueContainer().decode(String.self) {
                query = text
            } else {
                query = try decoder.container(keyedBy: Keys.self).decodeIfPresent(String.self, forKey: .query)
            }
        }

        private enum Keys: CodingKey { case query }
    }

    struct Variable: Decodable, Sendable {
        var name: String?
        var label: String?
        var type: String?
        var datasource: DataSource?
        var query: Query?
        var refresh: Int?
        var multi: Bool?
        var allValue: String?
    }

    struct Target: Decodable, Sendable {
        var refId: String?
        var expr: String?
        var legendFormat: String?
        var datasource: DataSource?
        var instant: Bool?
    }

    struct Panel: Decodable, Sendable {
        struct Place: Decodable, Sendable {
            var x: Int
            var y: Int
            var w: Int
            var h: Int
        }

        struct Fields: Decodable, Sendable {
            struct Defaults: Decodable, Sendable {
                var unit: String?
            }

            var defaults: Defaults?
        }

        var id: Int?
        var type: String?
        var title: String?
        var description: String?
        var datasource: DataSource?
        var gridPos: Place?
        var fieldConfig: Fields?
        var targets: [Target]?
    }

    struct Annotation: Decodable, Sendable {
        var name: String?
        var expr: String?
        var datasource: DataSource?
    }

    struct Annotations: Decodable, Sendable {
        var list: [Annotation]
    }

    struct Templating: Decodable, Sendable {
        var list: [Variable]
    }

    struct Link: Decodable, Sendable {
        var tags: [String]?
        var includeVars: Bool?
    }

    var uid: String?
    var title: String?
    var tags: [String]?
    var schemaVersion: Int?
    var editable: Bool?
    var graphTooltip: Int?
    var timezone: String?
    var links: [Link]?
    var annotations: Annotations?
    var templating: Templating?
    var panels: [Panel]?

    /// The panels that are no rows' headers.
    var charts: [Panel] { (panels ?? []).filter { $0.type != "row" } }

    /// Every query, those of variables included; a variable's is the selector it takes its values from.
    var expressions: [String] {
        charts.flatMap { ($0.targets ?? []).compactMap(\.expr) } + (annotations?.list ?? []).compactMap(\.expr)
            + (templating?.list ?? []).compactMap { $0.selector }
    }

    /// Every query with its place.
    var places: [(place: String, expression: String)] {
        var places: [(String, String)] = []
        for panel in charts {
            for target in panel.targets ?? [] {
                places.append(
                    ("panel '\(panel.title ?? "")' (\(panel.id ?? 0)), query \(target.refId ?? "")", target.expr ?? ""))
            }
        }
        for annotation in annotations?.list ?? [] {
            places.append(("annotation '\(annotation.name ?? "")'", annotation.expr ?? ""))
        }
        for variable in templating?.list ?? [] where variable.type == "query" {
            places.append(
                (
                    "variable '\(variable.name ?? "")'",
                    "group by (\(variable.labelName ?? "")) (\(variable.selector ?? ""))"
                ))
        }
        return places
    }
}

extension Dashboard.Variable {
    /// What `label_values(SELECTOR, LABEL)` looks at; `nil` if the query is something else.
    var selector: String? { labelValues.map { String($0.1) } }

    /// The label whose values are taken.
    var labelName: String? { labelValues.map { String($0.2) } }

    private var labelValues: (Substring, Substring, Substring)? {
        guard type == "query", let text = query?.query else { return nil }
        return text.wholeMatch(of: /label_values\((.+), ([a-z_]+)\)/)?.output
    }
}
