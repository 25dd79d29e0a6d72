// jsonnet --multi dashboards dashboards/render.jsonnet writes the dashboards' files.
(import 'mixin.libsonnet').grafanaDashboards
