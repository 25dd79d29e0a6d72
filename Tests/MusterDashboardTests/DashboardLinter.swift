// SPDX-License-Identifier: Apache-2.0

/// Holds a dashboard to the rules. Pure: expressions are parsed before.
struct DashboardLinter {
    /// Those of Grafana's units that make sense for what Muster measures.
    private static let units: Set = ["s", "bytes", "percentunit", "short", "none", "cps", "ops", "reqps"]
    private static let rates: Set = ["rate", "irate", "increase"]
    private static let datasource = "${datasource}"
    /// Metrics of the supervisor or the endpoint, which no worker group has; what is dropped has series of both kinds.
    private static let groupless = [
        "process_", "muster_build_info", "muster_health_check_", "muster_endpoint_", "muster_scrape_",
        "muster_reload_", "muster_reloads_", "muster_orphans_", "muster_metrics_dropped_", "muster_signals_",
    ]

    private let dashboard: Dashboard
    private let parsed: [String: ParsedExpression]
    private let metrics: Set<String>
    private var findings: [DashboardFinding] = []

    /// Finds what breaks the rules.
    ///
    /// - Parameters:
    ///   - dashboard: The dashboard.
    ///   - parsed: All its expressions, parsed.
    ///   - metrics: The names of the metrics that there are.
    static func findings(
        in dashboard: Dashboard, parsed: [String: ParsedExpression], metrics: Set<String>
    ) -> [DashboardFinding] {
        var linter = DashboardLinter(dashboard: dashboard, parsed: parsed, metrics: metrics)
        linter.checkDashboard()
        linter.checkVariables()
        linter.checkPlaces()
        for panel in dashboard.charts { linter.check(panel) }
        for annotation in dashboard.annotations?.list ?? [] {
            let place = "annotation '\(annotation.name ?? "")'"
            linter.require(.panelDatasource, place, annotation.datasource?.uid == datasource, "other data source")
            linter.check(expression: annotation.expr, isInstant: false, place: place)
        }
        return linter.findings
    }

    private init(dashboard: Dashboard, parsed: [String: ParsedExpression], metrics: Set<String>) {
        self.dashboard = dashboard
        self.parsed = parsed
        self.metrics = metrics
    }

    private mutating func require(_ rule: DashboardRule, _ place: String, _ holds: Bool, _ details: String) {
        if !holds { findings.append(DashboardFinding(rule: rule, place: place, details: details)) }
    }

    private mutating func checkDashboard() {
        let here = dashboard.title ?? "untitled"
        require(.identity, here, dashboard.uid?.wholeMatch(of: /muster-[a-z-]+/) != nil, "uid \(dashboard.uid ?? "")")
        require(.identity, here, dashboard.title?.hasPrefix("Muster / ") == true, "title")
        require(.identity, here, dashboard.tags?.contains("muster") == true, "tags")
        require(.identity, here, (36...41).contains(dashboard.schemaVersion ?? 0), "schema version")
        require(.readOnly, here, dashboard.editable == false, "editable")
        require(.readOnly, here, dashboard.graphTooltip == 1, "graphTooltip")
        require(.readOnly, here, dashboard.timezone == "browser", "timezone")
        let isLinked = dashboard.links?.contains { $0.tags == dashboard.tags && $0.includeVars == true } == true
        require(.links, here, isLinked, "links")
        let marks = dashboard.annotations?.list.contains {
            $0.expr?.contains("muster_worker_restarts_total") == true
        }
        require(.restartAnnotation, here, marks == true, "annotations")
    }

    private mutating func checkVariables() {
        let variables = dashboard.templating?.list ?? []
        let sources = variables.filter { $0.type == "datasource" }
        require(
            .datasourceVariable, "variables",
            sources.count == 1 && sources[0].name == "datasource" && sources[0].label == "Data source"
                && sources[0].query?.query == "prometheus", "data source")
        for name in ["job", "instance", "worker_group"] {
            let variable = variables.first { $0.name == name }
            require(
                .targetVariables, "variable '\(name)'",
                variable?.type == "query" && variable?.multi == true && variable?.allValue == ".+"
                    && variable?.label?.isEmpty == false, "missing, or not for several values")
        }
        for variable in variables where variable.type == "query" {
            let place = "variable '\(variable.name ?? "")'"
            require(.variableQuery, place, variable.refresh == 2, "refresh")
            require(.variableQuery, place, variable.datasource?.uid == Self.datasource, "data source")
            guard let selector = variable.selector else {
                require(.variableQuery, place, false, "query")
                continue
            }
            require(.variableQuery, place, parsed[selector]?.selectors?.count == 1, "selector \(selector)")
            for found in parsed[selector]?.selectors ?? [] { checkMetric(found, place) }
        }
    }

    private mutating func checkPlaces() {
        var ids: Set<Int> = []
        var cells: Set<[Int]> = []
        for panel in dashboard.panels ?? [] {
            let place = "panel '\(panel.title ?? "")'"
            require(.panelIdentity, place, panel.id.map { ids.insert($0).inserted } == true, "id")
            guard let grid = panel.gridPos, grid.w > 0, grid.h > 0, grid.x >= 0, grid.x + grid.w <= 24 else {
                require(.panelIdentity, place, false, "no place within 24 columns")
                continue
            }
            var isFree = true
            for x in grid.x..<grid.x + grid.w {
                for y in grid.y..<grid.y + grid.h where !cells.insert([x, y]).inserted { isFree = false }
            }
            require(.panelIdentity, place, isFree, "lies on another one")
        }
    }

    private mutating func check(_ panel: Dashboard.Panel) {
        let place = "panel '\(panel.title ?? "")'"
        require(.panelText, place, panel.title?.isEmpty == false, "title")
        require(.panelText, place, panel.description?.wholeMatch(of: /\S.{15,}\./) != nil, "description")
        require(
            .panelUnit, place, Self.units.contains(panel.fieldConfig?.defaults?.unit ?? ""),
            "unit \(panel.fieldConfig?.defaults?.unit ?? "")")
        require(.panelDatasource, place, panel.datasource?.uid == Self.datasource, "data source")
        let targets = panel.targets ?? []
        require(
            .panelTargets, place, !targets.isEmpty && Set(targets.map(\.refId)).count == targets.count, "queries")
        for target in targets {
            let place = "\(place), query \(target.refId ?? "")"
            require(.panelDatasource, place, target.datasource?.uid == Self.datasource, "data source")
            let needsLegend = panel.type != "stat" && panel.type != "table"
            require(.targetLegend, place, !needsLegend || target.legendFormat?.isEmpty == false, "legend")
            check(expression: target.expr, isInstant: target.instant == true, place: place)
        }
    }

    private mutating func check(expression: String?, isInstant: Bool, place: String) {
        guard let expression, let selectors = parsed[expression]?.selectors else {
            require(.targetSyntax, place, false, expression.flatMap { parsed[$0]?.error } ?? "no expression")
            return
        }
        for selector in selectors {
            checkMetric(selector, place)
            var wanted = ["job", "instance"]
            if !Self.groupless.contains(where: selector.name.hasPrefix) { wanted.append("worker_group") }
            let hasLoops = dashboard.templating?.list.contains { $0.name == "loop" } == true
            if hasLoops && selector.name.hasPrefix("muster_loop_") { wanted.append("loop") }
            for label in wanted {
                let matcher = ParsedExpression.Matcher(label: label, operator: "=~", value: "$\(label)")
                require(
                    .targetMatchers, place, selector.matchers.contains(matcher),
                    "\(selector.name) without \(label)=~\"$\(label)\"")
            }
            check(rateOf: selector, isInstant: isInstant, place: place)
        }
    }

    private mutating func check(rateOf selector: ParsedExpression.Selector, isInstant: Bool, place: String) {
        let isRate = Self.rates.contains(selector.functions.last ?? "")
        let isCounter = ["_total", "_bucket", "_sum", "_count"].contains(where: selector.name.hasSuffix)
        require(
            .targetCounters, place, isRate == isCounter, "\(selector.name) within \(selector.functions)")
        guard isRate else { return }
        let intervals = isInstant ? ["$__rate_interval", "$__range"] : ["$__rate_interval"]
        require(
            .targetRateInterval, place,
            intervals.contains { ParsedExpression.intervals[$0] == selector.seconds },
            "\(selector.name) over \(selector.seconds ?? 0) s")
    }

    private mutating func checkMetric(_ selector: ParsedExpression.Selector, _ place: String) {
        let suffixes = ["", "_bucket", "_sum", "_count"].filter(selector.name.hasSuffix)
        let names = suffixes.map { String(selector.name.dropLast($0.count)) }
        require(.targetMetrics, place, names.contains(where: metrics.contains), "no metric '\(selector.name)'")
    }
}
