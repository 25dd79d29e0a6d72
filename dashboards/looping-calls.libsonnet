// Muster / Looping calls: do they run when they should, and how long do they take?
function(config)
  local dashboard = (import 'lib/dashboard.libsonnet')(config);
  local panels = (import 'lib/panels.libsonnet')(config);
  local loops = '{' + dashboard.loops + '}';
  local rate(name) = 'rate(muster_loop_' + name + loops + '[$__rate_interval])';
  local quantile(q, name, by) =
    'histogram_quantile(' + q + ', sum by (' + std.join(', ', by + ['le']) + ') (' + rate(name + '_bucket') + '))';
  local loop = '{{loop}} {{backend}}';
  // Instants are compared with that of the scrape, or they would seem to age between two scrapes.
  local next = 'muster_loop_next_run_timestamp_seconds' + loops;
  local last = 'muster_loop_last_run_timestamp_seconds' + loops;

  dashboard.new(
    'muster-looping-calls',
    'Muster / Looping calls',
    'Lateness, skipped runs and durations of looping calls.',
    [
      dashboard.variables.datasource,
      dashboard.variables.job,
      dashboard.variables.instance,
      dashboard.variables.worker_group,
      dashboard.variables.loop,
    ],
    [
      {
        title: 'At a glance',
        panels: [
          panels.stat(
            'Loops',
            "Looping calls that have a next run, each worker's counted.",
            'none',
            'count(muster_loop_next_run_timestamp_seconds' + loops + ')',
            [[null, 'blue']],
            alerts=['MusterLoopEnded'],
          ),
          panels.stat(
            'Runs',
            'Runs started per second.',
            'cps',
            'sum(' + rate('runs_total') + ')',
            [[null, 'blue']],
          ),
          panels.stat(
            'Lateness, 99 %',
            'One run in a hundred starts later than this after its scheduled start.',
            's',
            quantile('0.99', 'lateness_seconds', []),
            [[null, 'green'], [0.1, 'orange'], [1, 'red']],
            alerts=['MusterLoopLate'],
          ),
          panels.stat(
            'Runs that fail',
            'The share of the runs that end with an error.',
            'percentunit',
            'sum(' + rate('run_failures_total') + ') / (sum(' + rate('runs_total') + ') > 0) or vector(0)',
            [[null, 'green'], [0.001, 'orange'], [0.1, 'red']],
            alerts=['MusterLoopFailing'],
          ),
          panels.stat(
            'Runs that overrun',
            'The share of the runs that last beyond the next scheduled start.',
            'percentunit',
            'sum(' + rate('overruns_total') + ') / (sum(' + rate('runs_total') + ') > 0) or vector(0)',
            [[null, 'green'], [0.001, 'orange'], [0.1, 'red']],
            alerts=['MusterLoopOverrunning'],
          ),
          panels.stat(
            'Longest overdue',
            'How long ago the next run of the most overdue loop should have started. A long run alone is not a hang.',
            's',
            'clamp_min(max(timestamp(' + next + ') - ' + next + '), 0)',
            [[null, 'green'], [1, 'orange'], [10, 'red']],
            calc='max',
            alerts=['MusterLoopOverdue'],
          ),
        ],
      },
      {
        title: 'Lateness',
        panels: [
          panels.heatmap(
            'Lateness of all runs',
            'How many runs started how late. A band that moves up, or spreads, means that the workers are busy; single spots far up are runs that were delayed individually.',
            'sum by (le) (increase(muster_loop_lateness_seconds_bucket' + loops + '[$__rate_interval]))',
            alerts=['MusterLoopLate'],
          ),
          panels.lines(
            'Lateness, quantiles',
            'Start of a run minus its scheduled start, over all loops: half, nine tenths and 99 hundredths of the runs are better than this.',
            's',
            [
              [quantile('0.99', 'lateness_seconds', []), '99 %'],
              [quantile('0.9', 'lateness_seconds', []), '90 %'],
              [quantile('0.5', 'lateness_seconds', []), '50 %'],
            ],
            w=12,
            exemplars=true,
            log=true,
            min=null,
            alerts=['MusterLoopLate'],
          ),
          panels.lines(
            'Lateness by loop, 99 %',
            'One run in a hundred of each loop starts later than this after its scheduled start.',
            's',
            [[quantile('0.99', 'lateness_seconds', ['loop', 'backend']), loop]],
            w=12,
            exemplars=true,
            log=true,
            min=null,
            alerts=['MusterLoopLate'],
          ),
        ],
      },
      {
        title: 'The schedule',
        panels: [
          panels.lines(
            'Drift',
            'How far the schedule has slipped from its ideal grid since the loop began, the worst worker of each loop. Only the overrun policy delay lets it slip.',
            's',
            [['max by (loop, backend) (muster_loop_drift_seconds' + loops + ')', loop]],
            alerts=['MusterLoopDrifting'],
          ),
          panels.bars(
            'Overruns',
            'Runs that lasted beyond the next scheduled start.',
            'none',
            [['sum by (loop, backend) (round(increase(muster_loop_overruns_total' + loops + '[$__rate_interval])))', loop]],
            alerts=['MusterLoopOverrunning'],
          ),
          panels.bars(
            'Runs left out',
            'Scheduled runs that were skipped, by reason: the one before lasted too long, or the loop woke too late.',
            'none',
            [
              [
                'sum by (reason, backend) (round(increase(muster_loop_skipped_total' + loops + '[$__rate_interval])))',
                '{{reason}} {{backend}}',
              ],
            ],
            alerts=['MusterLoopSkipping'],
          ),
          panels.lines(
            'Time until the next run',
            'When the next run of each loop is due, the nearest of all workers; below 0 it is overdue.',
            's',
            [['min by (loop, backend) (' + next + ' - timestamp(' + next + '))', loop]],
            min=null,
            alerts=['MusterLoopOverdue'],
          ),
          panels.table(
            'Loops',
            'Each loop with its interval, its last and next run, and its runs, failures and overruns in the time shown.',
            ['loop', 'backend', 'worker_group'],
            [
              {
                title: 'Interval',
                unit: 's',
                expr: 'max by (loop, backend, worker_group) (muster_loop_interval_seconds' + loops + ')',
              },
              {
                title: 'Last run, ago',
                unit: 's',
                decimals: 1,
                expr:
                  'max by (loop, backend, worker_group) (timestamp(' + last + ') - ' + last + ')',
              },
              {
                title: 'Next run, in',
                unit: 's',
                decimals: 1,
                expr:
                  'min by (loop, backend, worker_group) (' + next + ' - timestamp(' + next + '))',
              },
              {
                title: 'Runs',
                unit: 'none',
                decimals: 0,
                expr: 'sum by (loop, backend, worker_group) (round(increase(muster_loop_runs_total' + loops + '[$__range])))',
              },
              {
                title: 'Failures',
                unit: 'none',
                decimals: 0,
                steps: [[null, 'green'], [1, 'orange']],
                expr:
                  'sum by (loop, backend, worker_group) (round(increase(muster_loop_run_failures_total' + loops +
                  '[$__range])))',
              },
              {
                title: 'Overruns',
                unit: 'none',
                decimals: 0,
                steps: [[null, 'green'], [1, 'orange']],
                expr:
                  'sum by (loop, backend, worker_group) (round(increase(muster_loop_overruns_total' + loops +
                  '[$__range])))',
              },
            ],
            w=16,
            h=7,
            alerts=['MusterLoopOverdue'],
          ),
        ],
      },
      {
        title: 'Runs',
        panels: [
          panels.lines(
            'Duration, 99 %',
            'One run in a hundred takes longer than this.',
            's',
            [[quantile('0.99', 'run_duration_seconds', ['loop', 'backend']), loop]],
            exemplars=true,
            log=true,
            min=null,
          ),
          panels.lines(
            'Share of the interval used',
            "The mean duration of a run, measured by the loop's interval. At 1 the loop does nothing but run.",
            'percentunit',
            [
              [
                'sum by (loop, backend) (' + rate('run_duration_seconds_sum') + ') / sum by (loop, backend) (' +
                rate('run_duration_seconds_count') + ') / max by (loop, backend) (muster_loop_interval_seconds' +
                loops + ')',
                loop,
              ],
            ],
            alerts=['MusterLoopOverrunning'],
          ),
          panels.bars(
            'Failures',
            'Runs that ended with an error.',
            'none',
            [
              [
                'sum by (loop, backend) (round(increase(muster_loop_run_failures_total' + loops + '[$__rate_interval])))',
                loop,
              ],
            ],
            alerts=['MusterLoopFailing'],
          ),
        ],
      },
    ],
  )
