// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterMetrics
import Testing

/// What other people's parsers make of the exposition. Tests whose tool is missing are skipped.
///
/// `promtool` comes with Prometheus; the interpreter in `MUSTER_PYTHON` (or `python3`) needs the package
/// `prometheus_client`.
@Suite("Conformance with foreign parsers")
struct ConformanceTests {
    private static let promtool = ForeignTool.find("promtool")
    private static let python: String? = {
        let name = getenv("MUSTER_PYTHON").map { String(cString: $0) } ?? "python3"
        guard let path = ForeignTool.find(name),
            let probe = try? ForeignTool.run(path, ["-c", "import prometheus_client"], input: []), probe.status == 0
        else { return nil }
        return path
    }()

    /// Label values of the kind that break writers.
    static let hostileValues = [
        "", " ", "plain", "\"", "\\", "\n", "\\n", "\\\\n", "a\"b\\c\nd", "\\\"", "\n\n", "grün 😀 日本", "{x=\"1\"}",
        "} 1\nevil 2",
        "# EOF", ",", "=", "\t", "e\u{301}", "\u{200B}", "trailing\\", "# HELP x y", "\r", "a\r\nb", "\u{0}",
    ]

    private static func bench() throws -> MetricBench {
        let bench = try MetricBench(constantLabels: [
            (name: "worker", value: "0"), (name: "worker_group", value: "a\"b"),
        ])
        let registry = bench.registry
        let jobs = try registry.counterFamily(
            "demo_jobs_total", help: "Jobs with \"quotes\", a \\ and\na second line, grün.", labelNames: ["kind"])
        for (index, value) in hostileValues.enumerated() { jobs.labels(value).increment(by: index + 1) }
        let temperature = try registry.gaugeFamily(
            "demo_temperature_celsius", help: "Temperature.", unit: .celsius, labelNames: ["place"])
        for (place, value) in [
            ("a", 0.1), ("b", -.infinity), ("c", .infinity), ("d", .nan), ("e", 1e300), ("f", -2.5e-9),
        ] {
            temperature.labels(place).set(value)
        }
        let wait = try registry.histogramFamily(
            "demo_wait_seconds", help: "Wait.", unit: .seconds, buckets: .lateness, labelNames: ["kind"])
        for value in hostileValues { wait.labels(value).observe(0.003) }
        try registry.histogram(
            "demo_size_bytes", help: "Size.", unit: .bytes, buckets: .exponential(start: 1, factor: 1000, count: 8)
        ).observe(123_456_789)
        try registry.floatingPointCounter("demo_cpu_seconds_total", help: "CPU.", unit: .seconds).increment(by: 12.5)
        try registry.info("demo_build", help: "Build.", labels: [(name: "version", value: "1.0")])
        bench.exposition.add(ProcessSource())
        return bench
    }

    @Test("promtool finds nothing to complain about", .enabled(if: promtool != nil, "promtool is not installed"))
    func promtoolCheck() throws {
        let bench = try Self.bench()
        let text = bench.render(.text)
        let result = try ForeignTool.run(#require(Self.promtool), ["check", "metrics"], input: Array(text.utf8))
        #expect(result.status == 0, "\(result.output)")
        #expect(result.output.isEmpty, "\(result.output)")
    }

    @Test(
        "prometheus_client reads back what was written",
        .enabled(if: python != nil, "prometheus_client is not installed"),
        arguments: [
            (ExpositionFormat.text, "prometheus_client.parser"),
            (.openMetrics, "prometheus_client.openmetrics.parser"),
        ])
    func prometheusClient(format: ExpositionFormat, module: String) throws {
        let bench = try Self.bench()
        let script = """
            import sys
            from \(module) import text_string_to_metric_families as parse
            text = sys.stdin.buffer.read().decode('utf-8')
            for family in parse(text):
                print('family', family.name, family.type, family.unit or '-', family.documentation.encode().hex())
                for sample in family.samples:
                    labels = ','.join(k + '=' + v.encode().hex() for k, v in sample.labels.items())
                    print('sample', sample.name, labels, repr(float(sample.value)))
            """
        let result = try ForeignTool.run(
            #require(Self.python), ["-c", script], input: Array(bench.render(format).utf8))
        #expect(result.status == 0, "\(result.output)")
        let lines = Set(result.output.split(separator: "\n").map(String.init))
        let constant = "worker=\(hex("0")),worker_group=\(hex("a\"b"))"
        for (index, value) in Self.hostileValues.enumerated() {
            let line = "sample demo_jobs_total \(constant),kind=\(hex(value)) \(Double(index + 1))"
            #expect(lines.contains(line), "\(value.debugDescription)")
            let count = "sample demo_wait_seconds_count \(constant),kind=\(hex(value)) 1.0"
            #expect(lines.contains(count), "\(value.debugDescription)")
        }
        let help = hex("Jobs with \"quotes\", a \\ and\na second line, grün.")
        #expect(lines.contains("family demo_jobs counter - \(help)"))
        let unit = format == .openMetrics ? "celsius" : "-"
        #expect(lines.contains("family demo_temperature_celsius gauge \(unit) \(hex("Temperature."))"))
        for (place, value) in [
            ("a", "0.1"), ("b", "-inf"), ("c", "inf"), ("d", "nan"), ("e", "1e+300"), ("f", "-2.5e-09"),
        ] {
            #expect(lines.contains("sample demo_temperature_celsius \(constant),place=\(hex(place)) \(value)"))
        }
        let info = format == .openMetrics ? "demo_build info" : "demo_build_info gauge"
        #expect(lines.contains("family \(info) - \(hex("Build."))"))
        #expect(lines.contains("sample demo_size_bytes_bucket \(constant),le=\(hex("1e+09")) 1.0"))
        #expect(lines.contains { $0.hasPrefix("sample process_cpu_seconds_total  ") })
    }

    private func hex(_ text: String) -> String {
        text.utf8.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
}
