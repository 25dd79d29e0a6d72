// A monitoring mixin: dashboards, recording rules and alerts as one value.
//
//   local muster = (import 'mixin.libsonnet') + { _config+:: { docsUrl: 'https://example.org/muster/' } };
//
// The rules are those of deploy/prometheus; the rendered dashboards lie beside this file.
(import 'config.libsonnet') +
{
  local config = self._config,

  local withDocs(rule) =
    if std.objectHas(rule, 'alert')
    then rule { annotations+: { runbook_url: config.docsUrl + super.runbook_url } }
    else rule,

  local rules(text) = {
    groups: [group { rules: std.map(withDocs, group.rules) } for group in (import 'lib/rules.libsonnet')(text).groups],
  },

  prometheusAlerts:: rules(importstr '../deploy/prometheus/alerts.yml'),
  prometheusRules:: rules(importstr '../deploy/prometheus/recording-rules.yml'),

  grafanaDashboards:: {
    'muster-overview.json': (import 'overview.libsonnet')(config),
    'muster-looping-calls.json': (import 'looping-calls.libsonnet')(config),
    'muster-backend-comparison.json': (import 'backend-comparison.libsonnet')(config),
  },
}
