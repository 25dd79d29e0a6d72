// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("A real Prometheus", .serialized, .timeLimit(.minutes(5)))
struct PrometheusTests {
    /// Every instrument of a single process, as an expression that must return data.
    static let instruments = [
        "muster_worker_threads", "muster_worker_up", "muster_worker_cpu_seconds_total",
        "muster_worker_resident_memory_bytes", "muster_worker_open_fds", "muster_worker_start_time_seconds",
        "muster_worker_jobs{state=\"queued\"}", "muster_worker_jobs{state=\"running\"}",
        "muster_worker_jobs{state=\"stopping\"}", "muster_jobs_total", "muster_job_failures_total",
        "muster_threadgroup_threads", "muster_threadgroup_threads_limit", "muster_threadgroup_timers",
        "muster_threadgroup_queue_length", "muster_threadgroup_tasks_total", "muster_threadgroup_task_failures_total",
        "muster_threadgroup_rejections_total",
        "histogram_quantile(0.5, sum by (le) (rate(muster_loop_lateness_seconds_bucket[5s]))) > 0",
        "histogram_quantile(0.99, sum by (le, loop) (rate(muster_loop_run_duration_seconds_bucket[5s]))) > 0",
        "muster_loop_drift_seconds", "muster_loop_interval_seconds == 0.01", "rate(muster_loop_runs_total[5s]) > 50",
        "muster_loop_run_failures_total", "muster_loop_overruns_total", "muster_loop_skipped_total{reason=\"late\"}",
        "muster_loop_skipped_total{reason=\"overrun\"}", "time() - muster_loop_last_run_timestamp_seconds < 10",
        "muster_loop_next_run_timestamp_seconds", "muster_blocking_pool_threads", "muster_blocking_pool_threads_limit",
        "muster_blocking_pool_queue_length", "muster_blocking_pool_tasks_total",
        "muster_blocking_pool_queue_seconds_count", "muster_build_info", "muster_health_check_status",
        "muster_endpoint_requests_total{route=\"/metrics\",code=\"200\"} > 0",
        "muster_metrics_dropped_series_total == 0",
        "muster_signals_total{signal=\"SIGTERM\"}", "process_cpu_seconds_total", "process_open_fds",
        "process_max_fds", "process_resident_memory_bytes", "process_virtual_memory_bytes",
        "process_start_time_seconds", "process_threads", "demo_store_items",
    ]

    @Test(
        "scrapes the demo under both backends, and every instrument has data",
        .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
        .enabled(if: Prometheus.isInstalled, "install prometheus for this test"))
    func scrapes() async throws {
        let backends = ["cooperative", "threading"]
        var demos: [String: Demo] = [:]
        for backend in backends { demos[backend] = try await Demo(backend: backend, options: ["--interval", "10ms"]) }
        let prometheus = try await Prometheus(
            targets: demos.mapValues { $0.ready.endpoint.replacingOccurrences(of: "http://", with: "") })
        for demo in demos.values { _ = try await demo.get("/livez") }
        for backend in backends {
            let up = "up{job=\"\(backend)\"} == 1"
            _ = try await eventually(up) { try await prometheus.query(up).first }
            let selected = "muster_backend_info{job=\"\(backend)\",backend=\"\(backend)\",source=\"hook\"} == 1"
            _ = try await eventually(selected) { try await prometheus.query(selected).first }
        }
        let own = [
            "cooperative": ["muster_hub_lag_seconds_count > 0", "muster_hub_job_steps_total > 0"],
            "threading": ["muster_job_threads > 3"],
        ]
        for backend in backends {
            for expression in Self.instruments + own[backend, default: []] {
                let scoped = "(\(expression)) * 0 + 1"
                let isAggregated = expression.hasPrefix("histogram_quantile")
                _ = try await eventually("data for \(expression) under \(backend)") {
                    let samples = try await prometheus.query(isAggregated ? expression : scoped)
                    return isAggregated
                        ? samples.first : samples.first { $0.labels["job"] == backend }
                }
            }
        }
        for (backend, demo) in demos {
            demo.signal(SIGTERM)
            #expect(try await demo.status() == 0, "\(backend)")
        }
    }

    @Test(
        "collects native histograms of the demo's workers, if it wants them",
        .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
        .enabled(if: Prometheus.isInstalled, "install prometheus for this test"), arguments: ["0", "2"])
    func nativeHistograms(workers: String) async throws {
        let demo = try await Demo(backend: "cooperative", options: ["--interval", "10ms", "--workers", workers])
        let prometheus = try await Prometheus(
            targets: ["demo": demo.ready.endpoint.replacingOccurrences(of: "http://", with: "")],
            features: ["native-histograms"])
        _ = try await HTTPAnswer.get(demo.ready.http + "/items/a", method: "PUT", body: "1")
        let precise = [
            "muster_loop_lateness_seconds", "muster_loop_run_duration_seconds", "muster_hub_lag_seconds",
            "http_server_request_duration_seconds", "demo_http_request_duration_seconds",
            "muster_scrape_duration_seconds",
        ]
        for name in precise {
            let quantile = "histogram_quantile(0.99, sum(\(name))) > 0"
            _ = try await eventually(quantile) { try await prometheus.query(quantile).first }
        }
        for name in precise + ["muster_blocking_pool_queue_seconds", "muster_threadgroup_task_queue_seconds"] {
            _ = try await eventually(name) { try await prometheus.query("histogram_count(\(name)) >= 0").first }
        }
        let rate = "histogram_quantile(0.5, sum by (loop) (rate(muster_loop_lateness_seconds[5s]))) > 0"
        _ = try await eventually(rate) { try await prometheus.query(rate).first }
        _ = try await eventually("counters") { try await prometheus.query("count(muster_loop_runs_total) > 0").first }
        _ = try await eventually("gauges") { try await prometheus.query("muster_worker_up == 1").first }
    }

    @Test(
        "has nothing to say about the exposition", .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
        .enabled(if: find("promtool") != nil, "install prometheus for this test"),
        arguments: ["cooperative", "threading"], ["0", "3"])
    func promtool(backend: String, workers: String) async throws {
        let demo = try await Demo(backend: backend, options: ["--workers", workers])
        _ = try await HTTPAnswer.get(demo.ready.http + "/items/a", method: "PUT", body: "1")
        _ = try await demo.get("/readyz")
        let folder = try TemporaryFolder()
        let file = try folder.write(try await demo.get("/metrics").body, to: "metrics.txt")
        let check = try Program("/bin/sh", ["-c", "exec promtool check metrics < \"$0\"", file])
        #expect(try await check.status() == 0)
        #expect(check.output + check.errors == "")
    }

    @Test(
        "and prometheus_client's parsers accept both formats",
        .enabled(if: Demo.isBuilt, "build the demo first: make demo"),
        .enabled(if: PythonTool.has("prometheus_client.openmetrics.parser"), "install prometheus_client for this test"),
        arguments: ["cooperative", "threading"], ["0", "3"])
    func parsers(backend: String, workers: String) async throws {
        let demo = try await Demo(backend: backend, options: ["--workers", workers])
        let accepts = ["text/plain; version=0.0.4": "", "application/openmetrics-text; version=1.0.0": "openmetrics."]
        for (accept, module) in accepts {
            let folder = try TemporaryFolder()
            let answer = try await demo.get("/metrics", headers: ["Accept": accept])
            #expect(answer.headers["content-type"]?.hasPrefix(accept) == true)
            let file = try folder.write(answer.body, to: "metrics.txt")
            let script = """
                import sys
                from prometheus_client.\(module)parser import text_string_to_metric_families as parse
                families = list(parse(open(sys.argv[1], newline="").read()))
                print(len(families), "families")
                assert len(families) > 30
                """
            let check = try Program(PythonTool.interpreter, ["-c", script, file])
            #expect(try await check.status() == 0, "\(accept): \(check.errors)")
        }
    }
}
