// Panels of the kinds that the dashboards use.
function(config) {
  local datasource = { type: 'prometheus', uid: '${datasource}' },

  // A query; the letter is its name within the panel.
  local query(letter, expr, legend, extra={}) = {
    refId: letter,
    datasource: datasource,
    expr: expr,
    legendFormat: legend,
    editorMode: 'code',
    range: true,
    instant: false,
  } + extra,

  // Queries from pairs of expression and legend.
  local queries(pairs, extra={}) = [
    query(std.char(65 + i), pairs[i][0], pairs[i][1], extra)
    for i in std.range(0, std.length(pairs) - 1)
  ],

  // worker_group becomes 'Worker group'.
  local heading(label) = std.asciiUpper(label[0]) + std.strReplace(label[1:], '_', ' '),

  local thresholds(steps) = {
    mode: 'absolute',
    steps: [{ color: step[1], value: step[0] } for step in steps],
  },

  local runbooks(names) =
    if std.startsWith(config.docsUrl, 'http')
    then [
      {
        title: 'Runbook: ' + name,
        url: config.docsUrl + 'docs/operations.md#' + std.asciiLower(name),
        targetBlank: true,
      }
      for name in names
    ]
    else [],

  local panel(type, title, description, unit, targets, w, h, alerts=[]) = {
    w:: w,
    h:: h,
    type: type,
    title: title,
    description: description,
    datasource: datasource,
    targets: targets,
    transparent: false,
    links: runbooks(alerts),
    fieldConfig: { defaults: { unit: unit, mappings: [], color: { mode: 'palette-classic' } }, overrides: [] },
  },

  // A number, with its course behind it. `steps` are pairs of a value and a colour; the first value is null.
  stat(title, description, unit, expr, steps, w=4, h=4, calc='lastNotNull', decimals=null, alerts=[])::
    panel('stat', title, description, unit, queries([[expr, '']]), w, h, alerts) {
      fieldConfig+: {
        defaults+: {
          color: { mode: 'thresholds' },
          thresholds: thresholds(steps),
          [if decimals != null then 'decimals']: decimals,
          noValue: '–',
        },
      },
      options: {
        reduceOptions: { calcs: [calc], fields: '', values: false },
        colorMode: 'value',
        graphMode: 'area',
        justifyMode: 'auto',
        orientation: 'auto',
        textMode: 'value',
        wideLayout: true,
      },
    },

  // Lines over time. `pairs` are pairs of an expression and a legend.
  lines(title, description, unit, pairs, w=8, h=7, min=0, max=null, exemplars=false, alerts=[], log=false)::
    panel('timeseries', title, description, unit, queries(pairs, if exemplars then { exemplar: true } else {}), w, h, alerts) {
      fieldConfig+: {
        defaults+: {
          [if min != null then 'min']: min,
          [if max != null then 'max']: max,
          custom: {
            drawStyle: 'line',
            lineInterpolation: 'linear',
            lineWidth: 1,
            fillOpacity: 5,
            gradientMode: 'none',
            showPoints: 'never',
            spanNulls: false,
            insertNulls: false,
            axisPlacement: 'auto',
            axisLabel: '',
            scaleDistribution: if log then { type: 'log', log: 10 } else { type: 'linear' },
            stacking: { mode: 'none', group: 'A' },
            thresholdsStyle: { mode: 'off' },
          },
        },
      },
      options: {
        legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] },
        tooltip: { mode: 'multi', sort: 'desc' },
      },
    },

  // Areas on top of each other.
  stacked(title, description, unit, pairs, w=8, h=7, alerts=[])::
    $.lines(title, description, unit, pairs, w, h, alerts=alerts) {
      fieldConfig+: {
        defaults+: { custom+: { stacking: { mode: 'normal', group: 'A' }, fillOpacity: 40 } },
      },
    },

  // Bars on top of each other, for what happens now and then.
  bars(title, description, unit, pairs, w=8, h=7, alerts=[])::
    $.stacked(title, description, unit, pairs, w, h, alerts) {
      // Each event in one bar, or two at most.
      interval: '1m',
      fieldConfig+: { defaults+: { custom+: { drawStyle: 'bars', fillOpacity: 90, lineWidth: 0 } } },
    },

  // How often which size occurred, from the buckets of a histogram.
  heatmap(title, description, expr, w=24, h=8, alerts=[])::
    panel('heatmap', title, description, 's', queries([[expr, '{{le}}']], { format: 'heatmap' }), w, h, alerts) {
      options: {
        calculate: false,
        cellGap: 1,
        cellValues: { unit: 'short' },
        color: { mode: 'scheme', scheme: 'Oranges', scale: 'exponential', exponent: 0.5, steps: 64, reverse: false },
        filterValues: { le: 1e-9 },
        legend: { show: true },
        rowsFrame: { layout: 'auto' },
        tooltip: { mode: 'single', yHistogram: true, showColorScale: false },
        yAxis: { axisPlacement: 'left', unit: 's', reverse: false },
        exemplars: { color: 'rgba(255,0,255,0.7)' },
      },
    },

  // What passes and what fails, as bars in two colours.
  passes(title, description, pairs, w=12, h=7, alerts=[])::
    panel('state-timeline', title, description, 'none', queries(pairs), w, h, alerts) {
      fieldConfig+: {
        defaults+: {
          color: { mode: 'thresholds' },
          thresholds: thresholds([[null, 'red'], [1, 'green']]),
          mappings: [
            {
              type: 'value',
              options: { '0': { text: 'fails', index: 0 }, '1': { text: 'passes', index: 1 } },
            },
          ],
          custom: { lineWidth: 0, fillOpacity: 80 },
        },
      },
      options: {
        mergeValues: true,
        showValue: 'never',
        alignValue: 'left',
        rowHeight: 0.8,
        legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
        tooltip: { mode: 'single', sort: 'none' },
      },
    },

  // A table with a row for each combination of `by` and a column for each of `columns`: {expr, title, unit, …}.
  table(title, description, by, columns, w=24, h=8, alerts=[])::
    local letters = [std.char(65 + i) for i in std.range(0, std.length(columns) - 1)];
    panel(
      'table',
      title,
      description,
      'short',
      [
        query(letters[i], columns[i].expr, '', { format: 'table', instant: true, range: false })
        for i in std.range(0, std.length(columns) - 1)
      ],
      w,
      h,
      alerts
    ) {
      transformations: [
        { id: 'merge', options: {} },
        {
          id: 'organize',
          options: {
            excludeByName: { Time: true },
            indexByName: { [by[i]]: i for i in std.range(0, std.length(by) - 1) },
            renameByName:
              { [label]: heading(label) for label in by } +
              { ['Value #' + letters[i]]: columns[i].title for i in std.range(0, std.length(columns) - 1) },
          },
        },
      ],
      fieldConfig+: {
        defaults+: {
          color: { mode: 'thresholds' },
          thresholds: thresholds([[null, 'text']]),
          custom: { align: 'auto', cellOptions: { type: 'auto' }, filterable: false, inspect: false },
        },
        overrides: [
          {
            matcher: { id: 'byName', options: column.title },
            properties:
              [{ id: 'unit', value: column.unit }] +
              (if std.objectHas(column, 'decimals') then [{ id: 'decimals', value: column.decimals }] else []) +
              (if std.objectHas(column, 'steps')
               then [
                 { id: 'thresholds', value: thresholds(column.steps) },
                 { id: 'custom.cellOptions', value: { type: 'color-text' } },
               ]
               else []),
          }
          for column in columns
        ],
      },
      options: { showHeader: true, cellHeight: 'sm', footer: { show: false, reducer: ['sum'], countRows: false } },
    },

  // Gives series colours by their names.
  colours(pairs):: {
    fieldConfig+: {
      overrides+: [
        {
          matcher: { id: 'byRegexp', options: pair[0] },
          properties: [{ id: 'color', value: { mode: 'fixed', fixedColor: pair[1] } }],
        }
        for pair in pairs
      ],
    },
  },

  // The same for all series of a query, by its letter.
  queryColours(colours):: {
    fieldConfig+: {
      overrides+: [
        {
          matcher: { id: 'byFrameRefID', options: letter },
          properties: [{ id: 'color', value: { mode: 'fixed', fixedColor: colours[letter] } }],
        }
        for letter in std.objectFields(colours)
      ],
    },
  },
}
