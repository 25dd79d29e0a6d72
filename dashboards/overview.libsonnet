// Muster / Overview: is everything there, does it stay up, and how full is it?
function(config)
  local dashboard = (import 'lib/dashboard.libsonnet')(config);
  local panels = (import 'lib/panels.libsonnet')(config);
  local target = '{' + dashboard.target + '}';
  local workers = '{' + dashboard.workers + '}';
  local with(matchers) = '{' + dashboard.workers + ', ' + matchers + '}';
  local deaths = with('reason!~"requested|reload|recycled"');
  local worker = '{{worker_group}}/{{worker}} {{instance}}';

  dashboard.new(
    'muster-overview',
    'Muster / Overview',
    'Services under Muster: workers, why they were replaced, threads and jobs, saturation, and health.',
    [
      dashboard.variables.datasource,
      dashboard.variables.job,
      dashboard.variables.instance,
      dashboard.variables.worker_group,
    ],
    [
      {
        title: 'At a glance',
        panels: [
          panels.stat(
            'Workers ready',
            'Workers whose service has started. A service in one process counts as one.',
            'none',
            'sum(muster_workers' + with('state="ready"') + ') or sum(muster_worker_up' + workers + ')',
            [[null, 'red'], [1, 'green']],
            alerts=['MusterNoReadyWorker'],
          ),
          panels.stat(
            'Workers not ready',
            'Workers that are starting, hung, or waiting for their next start. A count that is normally 0.',
            'none',
            'sum(muster_workers' + with('state=~"starting|hung|backoff"') + ') or vector(0)',
            [[null, 'green'], [1, 'orange']],
            alerts=['MusterWorkersMissing', 'MusterWorkerCrashLooping'],
          ),
          panels.stat(
            'Deaths an hour',
            'Deaths of workers that were not requested, averaged over the time shown.',
            'none',
            'sum(rate(muster_worker_restarts_total' + deaths + '[$__rate_interval])) * 3600 or vector(0)',
            [[null, 'green'], [1, 'orange'], [60, 'red']],
            calc='mean',
            decimals=1,
            alerts=['MusterWorkersRestarting', 'MusterRestartStorm'],
          ),
          panels.stat(
            'Failing checks',
            'Health checks that failed in their last evaluation.',
            'none',
            'count(muster_health_check_status' + target + ' == 0) or vector(0)',
            [[null, 'green'], [1, 'red']],
            alerts=['MusterHealthCheckFailing'],
          ),
          panels.stat(
            'Processors in use',
            'Processor time of all workers, in processors.',
            'none',
            'sum(rate(muster_worker_cpu_seconds_total' + workers + '[$__rate_interval]))',
            [[null, 'blue']],
            decimals=2,
          ),
          panels.stat(
            'Memory in use',
            'Memory of all workers in RAM. Code that they share is counted for each of them.',
            'bytes',
            'sum(muster_worker_resident_memory_bytes' + workers + ')',
            [[null, 'blue']],
          ),
        ],
      },
      {
        title: 'Workers',
        panels: [
          panels.stacked(
            'Workers by state',
            'Processes of each state: ready, starting, stopping, hung, delayed by the back-off, or spare.',
            'none',
            [['sum by (state) (muster_workers' + workers + ')', '{{state}}']],
            alerts=['MusterWorkersMissing', 'MusterHungWorkerRemains'],
          ) + panels.colours([
            ['ready', 'green'],
            ['starting', 'blue'],
            ['stopping', 'purple'],
            ['hung', 'red'],
            ['backoff', 'orange'],
            ['spare', 'text'],
          ]),
          panels.bars(
            'Restarts by reason',
            'Replaced workers, by the reason of the death. docs/operations.md explains the reasons.',
            'none',
            [['sum by (reason) (round(increase(muster_worker_restarts_total' + workers + '[$__rate_interval])))', '{{reason}}']],
            alerts=['MusterWorkersRestarting', 'MusterWorkerHung', 'MusterWorkerOutOfMemory', 'MusterWorkersRecycledOften'],
          ) + panels.colours([
            ['exit', 'yellow'],
            ['signal', 'orange'],
            ['oom', 'purple'],
            ['heartbeat', 'red'],
            ['startup_timeout', 'dark-red'],
            ['requested', 'blue'],
            ['reload', 'green'],
            ['recycled', 'super-light-green'],
          ]),
          panels.lines(
            'Time since the last sign of life',
            'How long the worker has made no known progress. A worker is replaced at muster.liveness-limit, 10 s by default.',
            's',
            [
              [
                'timestamp(muster_worker_heartbeat_timestamp_seconds' + workers +
                ') - muster_worker_heartbeat_timestamp_seconds' + workers,
                worker,
              ],
            ],
            alerts=['MusterWorkerHung'],
          ),
          panels.table(
            'Workers',
            'Each slot with its present process, restarts and resources.',
            ['instance', 'worker_group', 'worker'],
            [
              {
                title: 'Uptime',
                unit: 's',
                decimals: 0,
                expr: 'sum by (instance, worker_group, worker) (time() - muster_worker_start_time_seconds' + workers + ')',
              },
              {
                title: 'Deaths',
                unit: 'none',
                decimals: 0,
                steps: [[null, 'green'], [1, 'orange']],
                expr:
                  'sum by (instance, worker_group, worker) (round(increase(muster_worker_restarts_total' + deaths +
                  '[$__range])))',
              },
              {
                title: 'Back-off',
                unit: 's',
                steps: [[null, 'green'], [5, 'orange']],
                expr: 'sum by (instance, worker_group, worker) (muster_worker_backoff_seconds' + workers + ')',
              },
              {
                title: 'Processors',
                unit: 'none',
                decimals: 3,
                expr:
                  'sum by (instance, worker_group, worker) (rate(muster_worker_cpu_seconds_total' + workers +
                  '[$__rate_interval]))',
              },
              {
                title: 'Memory',
                unit: 'bytes',
                expr: 'sum by (instance, worker_group, worker) (muster_worker_resident_memory_bytes' + workers + ')',
              },
              {
                title: 'Threads',
                unit: 'none',
                decimals: 0,
                expr: 'sum by (instance, worker_group, worker) (muster_worker_threads' + workers + ')',
              },
              {
                title: 'Descriptors',
                unit: 'none',
                decimals: 0,
                expr: 'sum by (instance, worker_group, worker) (muster_worker_open_fds' + workers + ')',
              },
            ],
            w=24,
            h=6,
          ),
        ],
      },
      {
        title: 'Threads and jobs',
        panels: [
          panels.lines(
            'Threads',
            'Number of OS threads in each worker, including those of libraries.',
            'none',
            [['muster_worker_threads' + workers, worker]],
          ),
          panels.stacked(
            'Jobs alive',
            'Jobs by state and backend: queued, running, or stopping.',
            'none',
            [['sum by (backend, state) (muster_worker_jobs' + workers + ')', '{{backend}} {{state}}']],
          ),
          panels.lines(
            'Jobs started and failed',
            'Jobs spawned per second, and those that ended with an error.',
            'cps',
            [
              ['sum by (backend) (rate(muster_jobs_total' + workers + '[$__rate_interval]))', '{{backend}}'],
              [
                'sum by (backend) (rate(muster_job_failures_total' + workers + '[$__rate_interval]))',
                '{{backend}} failed',
              ],
            ],
          ),
        ],
      },
      {
        title: 'How full things are',
        panels: [
          panels.lines(
            'Processor use',
            'Processors that each worker uses. A cooperative worker uses at most one, apart from its pool and its libraries.',
            'percentunit',
            [['rate(muster_worker_cpu_seconds_total' + workers + '[$__rate_interval])', worker]],
          ),
          panels.lines(
            'Lag of the hub',
            'How long a turn of the cooperative hub takes. All other work in that worker waits meanwhile. Empty if all workers run the threading backend.',
            's',
            [
              [
                'histogram_quantile(0.99, sum by (worker_group, le) (rate(muster_hub_lag_seconds_bucket' + workers +
                '[$__rate_interval])))',
                '{{worker_group}} 99 %',
              ],
              [
                'histogram_quantile(0.5, sum by (worker_group, le) (rate(muster_hub_lag_seconds_bucket' + workers +
                '[$__rate_interval])))',
                '{{worker_group}} 50 %',
              ],
            ],
            exemplars=true,
            log=true,
            min=null,
            alerts=['MusterHubLagHigh'],
          ),
          panels.lines(
            'Room used',
            'The highest use of each limited resource: threads of a group, workers of a pool, threads for blocking work, file descriptors.',
            'percentunit',
            [
              [
                'max by (group) (muster_threadgroup_threads' + workers + ' / muster_threadgroup_threads_limit' +
                workers + ')',
                'thread group {{group}}',
              ],
              [
                'max by (pool) (muster_pool_workers_busy' + workers + ' / muster_pool_workers_limit' + workers + ')',
                'pool {{pool}}',
              ],
              [
                'max(muster_blocking_pool_threads_busy' + workers + ' / muster_blocking_pool_threads_limit' + workers +
                ')',
                'blocking pool',
              ],
              [
                'max(muster_worker_open_fds' + workers + ' / on (job, instance) group_left () process_max_fds' +
                target + ')',
                'descriptors',
              ],
            ],
            max=1,
            alerts=['MusterThreadGroupSaturated', 'MusterBlockingPoolSaturated', 'MusterDescriptorsHigh'],
          ),
          panels.lines(
            'Memory',
            'Memory of each worker in RAM. muster.recycle.memory limits what of it belongs to no file.',
            'bytes',
            [
              ['muster_worker_resident_memory_bytes' + workers, worker],
              ['muster_worker_anonymous_memory_bytes' + workers, worker + ' of no file'],
            ],
            alerts=['MusterWorkerOutOfMemory', 'MusterWorkersRecycledOften'],
          ),
          panels.lines(
            'Waiting',
            'Callers that wait for room in a thread group, and tasks that wait for a worker of a pool or a thread for blocking work.',
            'none',
            [
              ['sum by (group) (muster_threadgroup_queue_length' + workers + ')', 'thread group {{group}}'],
              ['sum by (pool) (muster_pool_queue_length' + workers + ')', 'pool {{pool}}'],
              ['sum(muster_blocking_pool_queue_length' + workers + ')', 'blocking pool'],
            ],
          ),
          panels.lines(
            'Work refused and failed',
            'Threads and tasks that a full group or pool rejected, and those that ended with an error.',
            'cps',
            [
              [
                'sum by (group) (rate(muster_threadgroup_rejections_total' + workers + '[$__rate_interval]))',
                '{{group}} refused',
              ],
              [
                'sum by (group) (rate(muster_threadgroup_task_failures_total' + workers + '[$__rate_interval]))',
                '{{group}} failed',
              ],
              [
                'sum by (pool) (rate(muster_pool_rejections_total' + workers + '[$__rate_interval]))',
                'pool {{pool}} refused',
              ],
              [
                'sum by (pool) (rate(muster_pool_tasks_total' + with('outcome="failed"') +
                '[$__rate_interval]))',
                'pool {{pool}} failed',
              ],
            ],
            alerts=['MusterThreadGroupRejecting', 'MusterThreadGroupTasksFailing'],
          ),
        ],
      },
      {
        title: 'Health and monitoring',
        panels: [
          panels.passes(
            'Health checks',
            '1 if the check passed in its last evaluation, else 0, by level.',
            [['min by (check, level) (muster_health_check_status' + target + ')', '{{level}}: {{check}}']],
            alerts=['MusterHealthCheckFailing'],
          ),
          panels.bars(
            'Reloads',
            'Reloads by outcome.',
            'none',
            [['sum by (outcome) (round(increase(muster_reloads_total' + target + '[$__rate_interval])))', '{{outcome}}']],
            w=6,
            alerts=['MusterReloadFailed'],
          ) + panels.colours([
            ['completed', 'green'],
            ['aborted', 'red'],
            ['refused', 'orange'],
            ['superseded', 'blue'],
          ]),
          panels.lines(
            'Time to start, stop and reload',
            'How long worker processes take until they are ready, and to end once they are told to; and whole reloads.',
            's',
            [
              [
                'histogram_quantile(0.99, sum by (le) (rate(muster_worker_startup_seconds_bucket' + workers +
                '[$__rate_interval])))',
                'start 99 %',
              ],
              [
                'histogram_quantile(0.99, sum by (le) (rate(muster_worker_stop_seconds_bucket' + workers +
                '[$__rate_interval])))',
                'stop 99 %',
              ],
              [
                'histogram_quantile(0.99, sum by (le) (rate(muster_reload_seconds_bucket' + target +
                '[$__rate_interval])))',
                'reload 99 %',
              ],
            ],
            w=6,
          ),
          panels.lines(
            'Metrics dropped',
            'Series that did not fit into the arena, and invalid updates, of workers and supervisors.',
            'cps',
            [
              ['sum(rate(muster_metrics_dropped_series_total' + target + '[$__rate_interval]))', 'series'],
              ['sum(rate(muster_metrics_dropped_updates_total' + target + '[$__rate_interval]))', 'updates'],
            ],
            w=6,
            alerts=['MusterMetricsDropped'],
          ),
          panels.lines(
            'Requests to the endpoint',
            'Scrapes, probes and all other requests that the endpoint answered.',
            'reqps',
            [
              [
                'sum by (route) (rate(muster_endpoint_requests_total' + target + '[$__rate_interval]))',
                '{{route}}',
              ],
            ],
            w=12,
          ),
          panels.lines(
            'Time to collect metrics',
            "How long it takes to read all workers' metrics and write them down, for each scrape.",
            's',
            [
              [
                'histogram_quantile(0.99, sum by (instance, le) (rate(muster_scrape_duration_seconds_bucket' + target +
                '[$__rate_interval])))',
                '{{instance}} 99 %',
              ],
            ],
            w=12,
          ),
        ],
      },
    ],
  )
