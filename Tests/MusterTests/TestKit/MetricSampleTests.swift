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
        #expect(metrics.value("a_total").number == nil)
        #expect(metrics.value("a_total", ["x": "3"]).number == nil)
        #expect(metrics.samples.sum("a_total") == 7)
        #expect(metrics.samples.sum("b_total").number == nil)
        #expect(MetricRegistry.discarding().samples.isEmpty)
    }

    @Test("A value that is not the expected one says what there is, the nearest first")
    func explanation() throws {
        let metrics = try MetricRegistry.forTesting()
        let family = try metrics.counterFamily("runs_total", help: "Text.", labelNames: ["loop", "backend"])
        family.labels("other", "x").increment(by: 2)
        family.labels("refresh", "y").increment(by: 3)
        let one = metrics.value("runs_total", ["loop": "refresh"])
        let both = #"{backend="y",loop="refresh"} 3, {backend="x",loop="other"} 2"#
        #expect("\(one)" == "3, there is runs_total \(both)")
        #expect(
            "\(metrics.value("runs_total", ["loop": "refresh", "backend": "x"]))".hasPrefix(
                "no value, there is runs_total {"))
        #expect("\(metrics.value("runs_total"))".hasPrefix("no value, 2 samples fit; there is runs_total {"))
        #expect("\(metrics.value("runs_totals"))".hasPrefix("no value, there is no runs_totals; near it: runs_total"))
        #expect("\(MetricRegistry.discarding().value("a"))" == "no value, there is no a")
        #expect("\(MetricValue(2.5))" == "2.5")
        #expect(one > 2 && one >= 3 && one < 4 && one <= 3 && one != 2)
        let none = metrics.value("none")
        #expect(!(none > 0) && !(none >= 0) && !(none < 0) && !(none <= 0))
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
