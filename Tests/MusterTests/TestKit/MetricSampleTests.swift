// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterMetrics
import MusterTestKit
import Testing

@Suite("Looking samples up")
struct MetricSampleTests {
    @Test("Lines of the text format are read")
    func lines() {
        let sample = MetricSample(parsing: #"name_total{a="x",b="say \"hi\", {you}\\\n"} 1.5e3"#)
        #expect(sample?.name == "name_total")
        #expect(sample?.labels == ["a": "x", "b": "say \"hi\", {you}\\\n"])
        #expect(sample?.value == 1500)
        #expect(MetricSample(parsing: "plain 7")?.value == 7)
        #expect(MetricSample(parsing: "plain +Inf")?.value == .infinity)
        #expect(MetricSample(parsing: "plain -Inf")?.value == -.infinity)
        #expect(MetricSample(parsing: "plain NaN")?.value.isNaN == true)
        for line in ["# HELP name text", "", "name", "name{a=\"x\"}", "name{a=\"x", "name x"] {
            #expect(MetricSample(parsing: line) == nil)
        }
    }

    @Test("A value is found by the labels that tell it apart")
    func value() throws {
        let metrics = try MetricRegistry.forTesting()
        #expect(metrics.samples.allSatisfy { $0.name.hasPrefix("muster_metrics_dropped_") })
        let family = try metrics.counterFamily("a_total", help: "Text.", labelNames: ["x", "y"])
        family.labels("1", "quoted \"\n\\").increment(by: 3)
        family.labels("2", "b").increment(by: 4)
        #expect(metrics.value("a_total", ["x": "1"]) == 3)
        #expect(metrics.value("a_total", ["y": "quoted \"\n\\"]) == 3)
        #expect(metrics.value("a_total", ["x": "2", "y": "b"]) == 4)
        // Two, and none.
        #expect(metrics.value("a_total") == nil)
        #expect(metrics.value("a_total", ["x": "3"]) == nil)
        #expect(MetricRegistry.discarding().samples.isEmpty)
    }

    @Test("Test backends share nothing, and unknown ones are refused", arguments: bothBackends)
    func backends(type: BackendType) throws {
        let first = try TestBackend.make(type)
        let second = try TestBackend.make(type)
        #expect(first.metrics !== second.metrics)
        #expect(first.engine !== second.engine)
        // Other tests may register further ones meanwhile.
        let error = #expect(throws: BackendError.self) { try TestBackend.make(BackendType("x")) }
        guard case .unknown(BackendType("x"), let registered) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(Set(registered).isSuperset(of: bothBackends))
    }
}
