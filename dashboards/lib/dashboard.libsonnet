// A dashboard in Grafana's classic JSON, and its variables.
function(config) {
  local datasource = { type: 'prometheus', uid: '${datasource}' },

  // What each selector matches. The second is for what a worker counts, the third for what a looping call does.
  local target = config.selector + 'job=~"$job", instance=~"$instance"',
  target:: target,
  workers:: target + ', worker_group=~"$worker_group"',
  loops:: self.workers + ', loop=~"$loop"',

  local query(name, label, text, description, extra={}) = {
    name: name,
    label: label,
    description: description,
    type: 'query',
    datasource: datasource,
    query: { qryType: 1, query: text, refId: 'PrometheusVariableQueryEditor-VariableQuery' },
    definition: text,
    regex: '',
    hide: 0,
    skipUrlSync: false,
    options: [],
    // When the time range changes.
    refresh: 2,
    // By name.
    sort: 1,
  } + extra,

  local several(name, label, text, description) = query(name, label, text, description, {
    multi: true,
    includeAll: true,
    allValue: '.+',
    current: { selected: true, text: ['All'], value: ['$__all'] },
  }),

  variables:: {
    datasource: {
      name: 'datasource',
      label: 'Data source',
      description: 'The Prometheus to ask.',
      type: 'datasource',
      query: 'prometheus',
      regex: '',
      hide: 0,
      multi: false,
      includeAll: false,
      skipUrlSync: false,
      options: [],
      refresh: 1,
      current: {},
    },
    job: several('job', 'Job', 'label_values(muster_build_info, job)', 'Scrape jobs with Muster in them.'),
    instance: several(
      'instance', 'Instance', 'label_values(muster_build_info{job=~"$job"}, instance)', 'Supervisors of these jobs.'
    ),
    worker_group: several(
      'worker_group',
      'Worker group',
      'label_values(muster_worker_up{' + target + '}, worker_group)',
      'Launched services.'
    ),
    loop: several(
      'loop', 'Loop', 'label_values(muster_loop_runs_total{' + $.workers + '}, loop)', 'Looping calls by name.'
    ),
    backend(name, label, default): query(
      name,
      label,
      'label_values(muster_backend_info{' + $.workers + '}, backend)',
      'One of the backends compared.',
      { multi: false, includeAll: false, current: { selected: true, text: default, value: default } }
    ),
  },

  local annotation(name, color, expr, title, text) = {
    name: name,
    datasource: datasource,
    enable: true,
    hide: false,
    iconColor: color,
    expr: expr,
    step: '30s',
    titleFormat: title,
    textFormat: text,
    tagKeys: 'instance',
    useValueForTime: false,
  },

  // Rows of panels become panels with places: 24 columns, from left to right, each row below the one before.
  local place(rows) =
    local placeRow(state, row) =
      local header = {
        type: 'row',
        title: row.title,
        collapsed: false,
        panels: [],
        gridPos: { x: 0, y: state.y, w: 24, h: 1 },
        id: state.id,
      };
      local panels = std.foldl(
        function(row, panel)
          local wraps = row.x + panel.w > 24;
          local x = if wraps then 0 else row.x;
          local y = if wraps then row.bottom else row.y;
          {
            x: x + panel.w,
            y: y,
            bottom: std.max(row.bottom, y + panel.h),
            id: row.id + 1,
            panels: row.panels + [
              panel { w:: null, h:: null, id: row.id, gridPos: { x: x, y: y, w: panel.w, h: panel.h } },
            ],
          },
        row.panels,
        { x: 0, y: state.y + 1, bottom: state.y + 1, id: state.id + 1, panels: [] }
      );
      { y: panels.bottom, id: panels.id, panels: state.panels + [header] + panels.panels };
    std.foldl(placeRow, rows, { y: 0, id: 1, panels: [] }).panels,

  new(uid, title, description, variables, rows):: {
    uid: uid,
    title: title,
    description: description,
    tags: config.dashboardTags,
    schemaVersion: 39,
    version: 1,
    editable: false,
    graphTooltip: 1,
    timezone: 'browser',
    refresh: config.refresh,
    time: { from: config.timeFrom, to: 'now' },
    timepicker: {},
    weekStart: '',
    fiscalYearStartMonth: 0,
    liveNow: false,
    links: [
      {
        type: 'dashboards',
        title: 'Muster',
        tags: config.dashboardTags,
        icon: 'external link',
        tooltip: '',
        url: '',
        asDropdown: true,
        includeVars: true,
        keepTime: true,
        targetBlank: false,
      },
    ],
    annotations: {
      list: [
        annotation(
          'Deaths of workers',
          'red',
          'sum by (instance, worker_group, worker, reason) ' +
          '(increase(muster_worker_restarts_total{' + $.workers + ', reason!~"requested|reload|recycled"}[$__rate_interval])) > 0',
          'Worker died',
          '{{worker_group}}/{{worker}}: {{reason}}'
        ),
        annotation(
          'Reloads',
          'blue',
          'sum by (instance, outcome) (increase(muster_reloads_total{' + target + '}[$__rate_interval])) > 0',
          'Reload',
          '{{outcome}}'
        ),
      ],
    },
    templating: { list: variables },
    panels: place(rows),
  },
}
