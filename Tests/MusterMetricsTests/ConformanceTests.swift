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
    static let python: String? = {
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

    /// The messages as Prometheus' client_model has them, for a Python that has protobuf.
    private static let messages = """
        import json, sys
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
        from google.protobuf.internal.decoder import _DecodeVarint
        kinds = {'uint64': 4, 'sint64': 18, 'double': 1, 'sint32': 17, 'uint32': 13, 'string': 9}
        model = {
            'LabelPair': 'string name = 1; string value = 2',
            'Gauge': 'double value = 1', 'Counter': 'double value = 1',
            'Bucket': 'uint64 cumulative_count = 1; double upper_bound = 2',
            'BucketSpan': 'sint32 offset = 1; uint32 length = 2',
            'Histogram': 'uint64 sample_count = 1; double sample_sum = 2; Bucket* bucket = 3; sint32 schema = 5;'
                'double zero_threshold = 6; uint64 zero_count = 7; BucketSpan* positive_span = 12; sint64* positive_delta = 13',
            'Metric': 'LabelPair* label = 1; Gauge gauge = 2; Counter counter = 3; Histogram histogram = 7',
            'MetricFamily': 'string name = 1; string help = 2; uint32 type = 3; Metric* metric = 4',
        }
        file = descriptor_pb2.FileDescriptorProto(name='metrics.proto', package='io.prometheus.client', syntax='proto2')
        for name, fields in model.items():
            message = file.message_type.add(name=name)
            for field in fields.split(';'):
                kind, own, _, number = field.split()
                repeated, kind = kind.endswith('*'), kind.rstrip('*')
                entry = message.field.add(name=own, number=int(number), label=3 if repeated else 1)
                if kind in kinds: entry.type = kinds[kind]
                else: entry.type, entry.type_name = 11, '.io.prometheus.client.' + kind
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        Family = message_factory.GetMessageClass(pool.FindMessageTypeByName('io.prometheus.client.MetricFamily'))
        data, at, families = sys.stdin.buffer.read(), 0, []
        while at < len(data):
            size, at = _DecodeVarint(data, at)
            family = Family()
            assert family.ParseFromString(data[at:at + size]) == size
            # Nothing is left that the model does not have.
            again = Family()
            again.CopyFrom(family)
            again.DiscardUnknownFields()
            assert again.SerializeToString() == family.SerializeToString()
            families.append(family)
            at += size
        """

    private static let hasProtobuf =
        python.flatMap { try? ForeignTool.run($0, ["-c", "import google.protobuf"], input: []) }?.status == 0

    @Test(
        "Google's protobuf reads the messages",
        .enabled(if: hasProtobuf, "protobuf is not installed for Python"))
    func protobuf() throws {
        let bench = try Self.bench()
        let wait = try bench.registry.histogram("demo_precise_seconds", help: "Wait.", buckets: .preciseSeconds)
        for value in [0, 0.25, 0.3, 0.3, 1, 4.5, 2000] { wait.observe(value) }
        let script =
            Self.messages + """

                for family in families:
                    print('family', family.name, family.type, family.help.encode().hex())
                    for metric in family.metric:
                        labels = ','.join(label.name + '=' + label.value.encode().hex() for label in metric.label)
                        if metric.HasField('histogram'):
                            h, index, count = metric.histogram, 0, 0
                            buckets = ' '.join('%g:%d' % (b.upper_bound, b.cumulative_count) for b in h.bucket)
                            native, deltas = [], list(h.positive_delta)
                            for span in h.positive_span:
                                index += span.offset
                                for _ in range(span.length):
                                    count += deltas.pop(0)
                                    native.append('%d:%d' % (index, count))
                                    index += 1
                            assert not deltas
                            print('histogram', family.name, labels, h.sample_count, repr(h.sample_sum), '|', buckets, '|',
                                h.schema, h.zero_threshold, h.zero_count, ' '.join(native))
                        else:
                            value = metric.counter.value if metric.HasField('counter') else metric.gauge.value
                            print('sample', family.name, labels, repr(value))
                """
        let result = try ForeignTool.run(#require(Self.python), ["-c", script], input: bench.bytes(.protobuf))
        #expect(result.status == 0, "\(result.output)")
        let lines = Set(result.output.split(separator: "\n").map(String.init))
        let constant = "worker=\(hex("0")),worker_group=\(hex("a\"b"))"
        for (index, value) in Self.hostileValues.enumerated() {
            let line = "sample demo_jobs_total \(constant),kind=\(hex(value)) \(Double(index + 1))"
            #expect(lines.contains(line), "\(value.debugDescription)")
        }
        #expect(lines.contains("family demo_temperature_celsius 1 \(hex("Temperature."))"))
        for (place, value) in [("b", "-inf"), ("d", "nan"), ("e", "1e+300"), ("f", "-2.5e-09")] {
            #expect(lines.contains("sample demo_temperature_celsius \(constant),place=\(hex(place)) \(value)"))
        }
        #expect(lines.contains("sample demo_build_info \(constant),version=\(hex("1.0")) 1.0"))
        let classic = "0.001:1 0.0025:1 0.005:1 0.01:1 0.025:1 0.05:1 0.1:1 0.25:2 0.5:4 1:5 2.5:5 5:6 10:6 30:6 60:6"
        let native = "-16:1 -15:0 -14:0 -13:2 0:1 18:1 81:1"
        #expect(
            lines.contains(
                "histogram demo_precise_seconds \(constant) 7 2006.35 | \(classic) | 3 9.5367431640625e-07 1 \(native)"),
            "\(lines.filter { $0.contains("demo_precise") })")
    }

    private func hex(_ text: String) -> String {
        text.utf8.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
}
