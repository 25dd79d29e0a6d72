// Muster / Backend comparison: the same quantities of two backends, and their ratio.
//
// All is for each worker, so that a few canaries can be compared with the many.
function(config)
  local dashboard = (import 'lib/dashboard.libsonnet')(config);
  local panels = (import 'lib/panels.libsonnet')(config);
  local workers(matchers='') = '{' + dashboard.workers + matchers + '}';
  local of(backend) = ', backend="' + backend + '"';
  local sides = ['$baseline', '$candidate'];

  // A quantity of one backend, for metrics that have the label.
  local lateness(q, side) =
    'histogram_quantile(' + q + ', sum by (le) (rate(muster_loop_lateness_seconds_bucket' + workers(of(side)) +
    '[$__rate_interval])))';
  local duration(q, side) =
    'histogram_quantile(' + q + ', sum by (le) (rate(muster_loop_run_duration_seconds_bucket' + workers(of(side)) +
    '[$__rate_interval])))';
  local share(name, side) =
    'sum(rate(muster_loop_' + name + workers(of(side)) + '[$__rate_interval])) / ' +
    '(sum(rate(muster_loop_runs_total' + workers(of(side)) + '[$__rate_interval])) > 0)';
  local runs(side) =
    'sum(rate(muster_loop_runs_total' + workers(of(side)) + '[$__rate_interval])) / ' +
    'count(muster_backend_info' + workers(of(side)) + ')';
  local jobs(side) = 'sum(muster_worker_jobs' + workers(of(side)) + ') / count(muster_backend_info' + workers(of(side)) + ')';

  // A quantity of a worker's process, which learns its backend from the info series.
  local process(expr, side) =
    'avg(' + expr + ' * on (job, instance, worker_group, worker) muster_backend_info' +
    workers(of(side)) + ')';
  local cpu(side) = process('rate(muster_worker_cpu_seconds_total' + workers() + '[$__rate_interval])', side);
  local memory(side) = process('muster_worker_resident_memory_bytes' + workers(), side);
  local threads(side) = process('muster_worker_threads' + workers(), side);
  local failures(side) =
    'sum(rate(muster_job_failures_total' + workers(of(side)) + '[$__rate_interval])) / count(muster_backend_info' +
    workers(of(side)) + ')';
  local deaths(side) = process(
    'sum by (job, instance, worker_group, worker) (increase(muster_worker_restarts_total' +
    workers(', reason!~"requested|reload|recycled"') + '[$__rate_interval]))', side
  );

  // Both backends in one panel.
  local both(title, description, unit, expr, w=12, alerts=[], log=false) =
    panels.lines(
      title,
      description,
      unit,
      [[expr(side), side] for side in sides],
      w=w,
      h=6,
      alerts=alerts,
      log=log,
      min=if log then null else 0
    ) + panels.queryColours({ A: 'blue', B: 'orange' });

  // The same, with the ratio beside it; for what is hardly ever 0.
  local pair(title, description, unit, expr, alerts=[], log=false) = [
    both(title, description, unit, expr, w=16, alerts=alerts, log=log),
    panels.lines(
      title + ': ratio',
      '$candidate divided by $baseline: 1 is the same, below 1 is less.',
      'none',
      [['(' + expr(sides[1]) + ') / ((' + expr(sides[0]) + ') > 0)', '$candidate / $baseline']],
      w=8,
      h=6,
    ) + panels.queryColours({ A: 'purple' }),
  ];
  local ratio(title, description, expr) = panels.stat(
    title,
    description,
    'none',
    '(' + expr(sides[1]) + ') / ((' + expr(sides[0]) + ') > 0)',
    [[null, 'green'], [1.1, 'text'], [2, 'orange']],
    w=6,
    calc='mean',
    decimals=2
  );

  dashboard.new(
    'muster-backend-comparison',
    'Muster / Backend comparison',
    'The same quantities of two backends side by side, for each worker, and their ratio. The backends may be those of canaries in one service or of two deployments.',
    [
      dashboard.variables.datasource,
      dashboard.variables.job,
      dashboard.variables.instance,
      dashboard.variables.worker_group,
      dashboard.variables.backend('baseline', 'Baseline', 'cooperative'),
      dashboard.variables.backend('candidate', 'Candidate', 'threading'),
    ],
    [
      {
        title: '$candidate compared with $baseline, on average over the time shown: 1 is the same, below 1 is less',
        panels: [
          ratio(
            'Lateness', 'The 99th percentile of how late looping calls start.', function(side) lateness('0.99', side)
          ),
          ratio('Processor time', 'Processor time that a worker uses.', cpu),
          ratio('Memory', 'Memory of a worker in RAM.', memory),
          ratio('Threads', 'Threads of the operating system in a worker.', threads),
        ],
      },
      {
        title: 'Looping calls',
        panels:
          [
            panels.heatmap(
              'Lateness: $baseline',
              'How many runs on the baseline backend started how late.',
              'sum by (le) (increase(muster_loop_lateness_seconds_bucket' + workers(of('$baseline')) +
              '[$__rate_interval]))',
              w=12
            ),
            panels.heatmap(
              'Lateness: $candidate',
              'How many runs on the candidate backend started how late.',
              'sum by (le) (increase(muster_loop_lateness_seconds_bucket' + workers(of('$candidate')) +
              '[$__rate_interval]))',
              w=12
            ),
          ] +
          pair(
            'Lateness, 99 %',
            'One run in a hundred starts later than this after its scheduled start.',
            's',
            function(side) lateness('0.99', side),
            alerts=['MusterBackendSlower'],
            log=true
          ) +
          pair(
            'Lateness, 50 %',
            'Half of the runs start later than this after their scheduled start.',
            's',
            function(side) lateness('0.5', side),
            log=true
          ) +
          pair(
            'Duration of runs, 99 %',
            'One run in a hundred takes longer than this.',
            's',
            function(side) duration('0.99', side),
            log=true
          ) +
          pair('Runs of each worker', 'Runs begun in a second by a worker.', 'cps', runs) +
          [
            both(
              'Overruns',
              'The share of the runs that last beyond the next scheduled start.',
              'percentunit',
              function(side) share('overruns_total', side)
            ),
            both(
              'Runs that fail',
              'The share of the runs that end with an error.',
              'percentunit',
              function(side) share('run_failures_total', side)
            ),
          ],
      },
      {
        title: 'Processes',
        panels:
          pair('Processor use', 'Processors that a worker uses.', 'percentunit', cpu) +
          pair('Memory', 'Memory of a worker in RAM.', 'bytes', memory) +
          pair('Threads', 'Threads of the operating system in a worker.', 'none', threads) +
          pair('Jobs', 'Jobs alive in a worker.', 'none', jobs) +
          [
            both('Deaths', 'Deaths of a worker that nobody asked for.', 'none', deaths),
            both('Failed jobs', 'Jobs of a worker that end with an error.', 'cps', failures),
          ],
      },
    ],
  )
