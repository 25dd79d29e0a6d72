// SPDX-License-Identifier: Apache-2.0

/// What a dashboard is held to: the rules of Grafana's dashboard-linter that concern Prometheus, and some of our own.
enum DashboardRule: String, CaseIterable, Sendable {
    case identity = "has a stable uid, a title, tags, a known schema version"
    case readOnly = "is not editable, shares its crosshair and uses the browser's time zone"
    case links = "links to its sisters and takes the variables along"
    case restartAnnotation = "marks deaths of workers"
    case datasourceVariable = "has one variable for the data source, called datasource and labelled"
    case targetVariables = "has the variables job, instance and worker_group, each for several values"
    case variableQuery = "has variables whose queries are valid and asked again when the time range changes"
    case panelIdentity = "has panels with ids of their own, in places of their own"
    case panelText = "has panels with a title and a description that is a sentence"
    case panelUnit = "has panels with a unit that Grafana knows"
    case panelDatasource = "asks the data source that was chosen, in panels and queries"
    case panelTargets = "has panels with queries whose names are their own"
    case targetLegend = "has legends where there are lines"
    case targetSyntax = "has valid PromQL"
    case targetMatchers = "selects by job and instance, and what is a worker's by worker group"
    case targetRateInterval = "takes rates over $__rate_interval, or in tables over $__range"
    case targetCounters = "uses counters in rates only, and gauges never"
    case targetMetrics = "asks for metrics that are in the catalogue"
}
