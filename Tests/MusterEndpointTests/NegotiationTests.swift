// SPDX-License-Identifier: Apache-2.0

import MusterMetrics
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("Content negotiation")
struct NegotiationTests {
    private static let prometheus2 =
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
        + "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    private static let prometheus3 =
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        + "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
        + "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    private static let prometheus3Protobuf =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
        + "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
        + "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
        + "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    private static let prometheus2Protobuf =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
        + "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
        + "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    private static let protobuf =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
    private static let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"

    static let metricsCases: [(String, ExpositionFormat, Bool)] = [
        (prometheus2, .openMetrics, false),
        (prometheus3, .openMetrics, true),
        (prometheus3Protobuf, .protobuf, false),
        (prometheus2Protobuf, .protobuf, false),
        (protobuf, .protobuf, false),
        (protobuf + ";escaping=allow-utf-8", .protobuf, true),
        (protobuf + ";q=0.3,text/plain;q=0.4", .text, false),
        (protobuf + ";q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1", .protobuf, false),
        (protobuf + ";q=0,*/*", .text, false),
        ("application/vnd.google.protobuf", .protobuf, false),
        (
            "Application/Vnd.Google.Protobuf; Encoding=\"delimited\"; Proto=io.prometheus.client.MetricFamily",
            .protobuf, false
        ),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", .text, false),
        ("application/vnd.google.protobuf;proto=other.Message;encoding=delimited", .text, false),
        (
            "application/vnd.google.protobuf;proto=other.Message;encoding=delimited,application/*;q=0.5", .openMetrics,
            false
        ),
        (browser, .text, false),
        ("", .text, false),
        ("*/*", .text, false),
        ("text/plain", .text, false),
        ("text/plain;version=0.0.4", .text, false),
        ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4", .text, false),
        ("text/plain;version=0.0.4;q=0.399,application/openmetrics-text;version=1.0.0;q=0.4", .openMetrics, false),
        ("application/openmetrics-text", .openMetrics, false),
        ("APPLICATION/OpenMetrics-Text; Version=\"1.0.0\"", .openMetrics, false),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", .openMetrics, false),
        ("application/openmetrics-text; version=1.0.0; charset=latin1", .text, false),
        ("application/openmetrics-text;version=0.0.1", .text, false),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", .text, false),
        ("application/openmetrics-text;q=0", .text, false),
        ("application/openmetrics-text;q=0,*/*", .text, false),
        ("text/plain;q=0,*/*", .openMetrics, false),
        ("application/*", .openMetrics, false),
        ("text/*;q=0.2,application/*;q=0.9", .openMetrics, false),
        ("text/plain,application/openmetrics-text", .text, false),
        ("application/openmetrics-text,text/plain", .openMetrics, false),
        ("*/*,application/openmetrics-text", .openMetrics, false),
        ("application/json", .text, false),
        ("application/openmetrics-text;q=nonsense", .text, false),
        ("application/openmetrics-text;q=", .text, false),
        (",,;;q=1,=,\"unclosed, application/openmetrics-text", .text, false),
        ("application/openmetrics-text;x=\"a,b;q=0\";q=0.3", .openMetrics, false),
        ("application/openmetrics-text;q=7", .openMetrics, false),
        ("text/plain;version=1.0.0", .text, false),
    ]

    @Test("The metrics' format follows the Accept header", arguments: metricsCases)
    func metrics(header: String, format: ExpositionFormat, escaping: Bool) {
        #expect(
            MetricsNegotiation(accept: header) == MetricsNegotiation(format: format, namesEscaping: escaping))
    }

    @Test("The content type names the version, and the escaping for those who ask")
    func contentType() {
        #expect(
            MetricsNegotiation(accept: Self.prometheus2).contentType
                == "application/openmetrics-text; version=1.0.0; charset=utf-8")
        #expect(
            MetricsNegotiation(accept: Self.prometheus3).contentType
                == "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores")
        #expect(MetricsNegotiation(accept: "").contentType == "text/plain; version=0.0.4; charset=utf-8")
        #expect(
            MetricsNegotiation(accept: Self.prometheus2Protobuf).contentType
                == "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited")
    }

    @Test(
        "gzip is used when wanted no less than plain bytes",
        arguments: [
            ("gzip", true), ("", false), ("identity", false), ("gzip;q=0", false), ("deflate, gzip;q=0.5", true),
            ("*", true), ("*;q=0", false), ("gzip;q=0, *", false), ("GZIP", true), ("x-gzip", true), ("br", false),
            ("gzip;q=0.5, identity;q=0.8", false), ("gzip;q=0.8, identity;q=0.5", true), ("gzip, identity", true),
            ("gzip;q=0.001", true), ("gzip;q=0.0001", false), ("gzip;q=x", false), ("gzipx", false),
        ])
    func gzip(header: String, isPreferred: Bool) {
        #expect(CodingNegotiation.prefersGzip(header) == isPreferred)
    }

    @Test(
        "A health report is JSON when that is preferred",
        arguments: [
            ("*/*", HealthNegotiation.text), ("", .text), (browser, .text), ("application/health+json", .healthJSON),
            ("application/json", .plainJSON), ("application/health+json, */*;q=0.1", .healthJSON),
            ("text/plain, application/health+json;q=0.9", .text),
            ("text/plain;q=0.5, application/health+json", .healthJSON),
            ("application/*", .healthJSON), ("image/png", .text),
        ])
    func health(header: String, negotiation: HealthNegotiation) {
        #expect(HealthNegotiation(accept: header) == negotiation)
    }

    @Test("Elements keep their order, parameters and weights")
    func elements() {
        #expect(
            HeaderElement.parse(" A/b ; V=\"x\\\"y\" ;q=.25 ,c ;q=1.5, d;q=0.1239") == [
                HeaderElement(
                    value: "a/b", parameters: [HeaderElement.Parameter(name: "v", value: "x\"y")], weight: 250),
                HeaderElement(value: "c", weight: 1000), HeaderElement(value: "d", weight: 123),
            ])
    }

    @Test("A memo answers like the reader, however many headers there are")
    func memo() {
        var memo = HeaderMemo<String>()
        var reads = 0
        for round in 0..<3 {
            for number in 0..<10 {
                let text = "header-\(number)" + (number == 3 ? String(repeating: "x", count: 5000) : "")
                let value = memo.value(of: text) {
                    reads += 1
                    return "<\($0)>"
                }
                #expect(value == "<\(text)>", "round \(round)")
            }
        }
        let before = reads
        for _ in 0..<10 { #expect(memo.value(of: "header-9") { _ in "read again" } == "<header-9>") }
        #expect(reads == before)
    }
}
