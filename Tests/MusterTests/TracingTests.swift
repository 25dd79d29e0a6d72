// SPDX-License-Identifier: Apache-2.0

import HTTPTypes
import InMemoryTracing
import Instrumentation
import MusterExecution
import MusterMetrics
import MusterPlatform
import MusterTestKit
import MusterTestSupport
import Testing
import Tracing

@testable import Muster

@Suite("Tracing", .serialized)
struct TracingTests {
    private enum Tenant: InstrumentationContextKey {
        typealias Value = String
    }

    private static var tenant: String? { ServiceContext.current?[Tenant.self] }

    private static func context(_ tenant: String) -> ServiceContext {
        var context = ServiceContext.topLevel
        context[Tenant.self] = tenant
        return context
    }

    @Test(
        "The service context goes along into threads, blocking work, timers and their children", arguments: bothBackends
    )
    func context(type: BackendType) async throws {
        try await TestBackend.with(type) { backend in
            #expect(!backend.tracing.isOn)
            let group = ThreadGroup(name: "test", backend: backend)
            let seen = Recorder<String?>()
            try await ServiceContext.$current.withValue(Self.context("a")) {
                let job = try await group.addThread(name: "thread") {
                    seen.append(Self.tenant)
                    try await backend.engine.runBlocking { seen.append(Self.tenant) }
                    async let child = Self.tenant
                    seen.append(await child)
                    return Self.tenant
                }
                #expect(try await job.result() == "a")
                let timer = try group.addTimer(name: "timer", interval: .seconds(60)) {
                    seen.append(Self.tenant)
                    try await backend.engine.runBlocking { seen.append(Self.tenant) }
                    throw LoopingCallDone()
                }
                _ = try await timer.wait()
            }
            #expect(seen.all == ["a", "a", "a", "a", "a"])
            // Nothing of it stays on the threads.
            let job = try await group.addThread(name: "next") {
                try await backend.engine.runBlocking { seen.append(Self.tenant) }
            }
            try await job.wait()
            #expect(seen.all.last == .some(nil))
        }
    }

    @Test("A thread of a group is a span of its caller's trace, and says how it failed", arguments: bothBackends)
    func threads(type: BackendType) async throws {
        let tracer = RecordingTracer()
        try await withTracer(tracer) {
            try await TestBackend.with(type) { backend in
                let group = ThreadGroup(name: "mail", backend: backend)
                try await tracer.withSpan("caller") { caller in
                    let inner = try await group.addThread(name: "deliver") {
                        ServiceContext.current?.inMemorySpanContext
                    }
                    let span = try #require(try await inner.result())
                    #expect(span.parentSpanID == caller.context.inMemorySpanContext?.spanID)
                    try await group.addThread(name: "bad") { throw TestFailure("no") }.wait()
                    let cancelled = try await group.addThread(name: "cancelled") {
                        try await backend.engine.sleep(for: .seconds(60))
                    }
                    cancelled.cancel()
                    try await cancelled.wait()
                }
                let good = try #require(tracer.span("deliver"))
                #expect(good.string("muster.group") == "mail")
                #expect(good.string("muster.backend") == type.rawValue)
                #expect(good.string("thread.name") == "deliver")
                #expect(good.status == nil && good.errors.isEmpty)
                let bad = try #require(tracer.span("bad"))
                #expect(bad.status?.code == .error)
                #expect(bad.string("error.type") == "MusterTests.TestFailure")
                #expect(bad.errors.count == 1)
                // One that was cancelled before its first line has no span.
                #expect(tracer.span("cancelled")?.status == nil)
            }
        }
    }

    @Test("Each run of a loop is a span, and its histograms say which", arguments: bothBackends)
    func loops(type: BackendType) async throws {
        let tracer = RecordingTracer()
        try await withTracer(tracer) {
            try await TestBackend.with(type) { backend in
                let runs = Recorder<Int>()
                let loop = FixedIntervalLoopingCall(name: "poll", backend: backend) {
                    runs.append(runs.all.count)
                    #expect(ServiceContext.current?.inMemorySpanContext != nil)
                    switch runs.all.count {
                    case 1: break
                    case 2: throw TestFailure("no")
                    default: throw LoopingCallDone()
                    }
                }
                try loop.start(interval: .milliseconds(1), stopsOnError: false)
                _ = try await loop.wait()
                let spans = tracer.spans("poll")
                #expect(spans.count == 3)
                #expect(Set(spans.map(\.traceID)).count == 3)
                #expect(spans.map { $0.status?.code == .error } == [false, true, false])
                #expect(spans.allSatisfy { $0.string("muster.loop") == "poll" })
                let text = Exposition(
                    sources: [ArenaSource(reader: try backend.metrics.reader(), constantLabels: [])]
                ).openMetrics()
                for name in ["muster_loop_run_duration_seconds_bucket", "muster_loop_lateness_seconds_bucket"] {
                    let exemplars = text.split(separator: "\n").filter { $0.hasPrefix(name) && $0.contains(" # {") }
                    #expect(!exemplars.isEmpty, "\(name)")
                    for line in exemplars {
                        #expect(spans.contains { line.contains("trace_id=\"\($0.traceID)\",span_id=\"\($0.spanID)\"") })
                    }
                }
            }
        }
    }

    @Test("A request is a span within its client's, with OpenTelemetry's names", arguments: bothBackends)
    func requests(type: BackendType) async throws {
        let tracer = RecordingTracer()
        try await withTracer(tracer) {
            try await TestBackend.with(type) { backend in
                let socket = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "address")
                defer { socket.closeDescriptor() }
                let server = HTTPServer(socket: socket, backend: backend) { routes in
                    routes.get("/items/{id}") { _ in
                        .text(ServiceContext.current?.inMemorySpanContext?.spanID ?? "none")
                    }
                    routes.post("/fail") { _ in throw TestFailure("no") }
                }
                try await server.start()
                let client = try TestClient(socket.address)
                let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
                let answer = try client.get("/items/7?secret=x", ["Traceparent: \(parent)", "User-Agent: test/1"])
                let span = try await tracer.finished("GET /items/{id}")
                #expect(answer.text == span.spanID)
                #expect(span.traceID == "4bf92f3577b34da6a3ce929d0e0e4736")
                #expect(span.parentSpanID == "00f067aa0ba902b7")
                #expect(span.kind == .server)
                let expected = [
                    "http.request.method": "GET", "http.route": "/items/{id}", "url.path": "/items/7",
                    "url.scheme": "http", "network.protocol.version": "1.1", "user_agent.original": "test/1",
                ]
                for (name, value) in expected { #expect(span.string(name) == value, "\(name)") }
                #expect(span.attributes.get("http.response.status_code") == .int64(200))
                #expect(span.status == nil)
                client.request("POST", "/fail", ["Content-Length: 0"])
                #expect(try client.response().status == 500)
                let failed = try await tracer.finished("POST /fail")
                #expect(failed.attributes.get("http.response.status_code") == .int64(500))
                #expect(failed.string("error.type") == "500")
                #expect(failed.status?.code == .error)
                client.request("BREW", "/pot")
                #expect(try client.response().status == 404)
                let unknown = try await tracer.finished("HTTP")
                #expect(unknown.string("http.request.method") == "_OTHER")
                #expect(unknown.string("http.request.method_original") == "BREW")
                #expect(unknown.attributes.get("http.route") == nil)
                #expect(unknown.status == nil, "a client's mistake")
                try await server.stop(graceful: false, until: nil)
            }
        }
    }
}

/// Keeps spans, and passes contexts on as W3C has it.
private struct RecordingTracer: Tracer {
    let base: InMemoryTracer

    init() {
        let numbers = Recorder<Int>()
        @Sendable func next(_ digits: Int) -> String {
            numbers.append(0)
            let text = String(numbers.all.count, radix: 16)
            return String(repeating: "0", count: digits - text.count) + text
        }
        base = InMemoryTracer(
            idGenerator: .init(nextTraceID: { next(32) }, nextSpanID: { next(16) }), recordInjections: false,
            recordExtractions: false)
    }

    func startSpan<Instant: TracerInstant>(
        _ operationName: String, context: @autoclosure () -> ServiceContext, ofKind kind: SpanKind,
        at instant: @autoclosure () -> Instant, function: String, file fileID: String, line: UInt
    ) -> InMemorySpan {
        base.startSpan(
            operationName, context: context(), ofKind: kind, at: instant(), function: function, file: fileID,
            line: line)
    }

    func forceFlush() {}

    func inject<Carrier, Inject: Injector>(
        _ context: ServiceContext, into carrier: inout Carrier, using injector: Inject
    ) where Inject.Carrier == Carrier {
        guard let span = context.inMemorySpanContext else { return }
        injector.inject("00-\(span.traceID)-\(span.spanID)-01", forKey: "traceparent", into: &carrier)
    }

    func extract<Carrier, Extract: Extractor>(
        _ carrier: Carrier, into context: inout ServiceContext, using extractor: Extract
    ) where Extract.Carrier == Carrier {
        let parts = extractor.extract(key: "traceparent", from: carrier)?.split(separator: "-") ?? []
        guard parts.count == 4 else { return }
        context.inMemorySpanContext = InMemorySpanContext(
            traceID: String(parts[1]), spanID: String(parts[2]), parentSpanID: nil)
    }

    func spans(_ name: String) -> [FinishedInMemorySpan] { base.finishedSpans.filter { $0.operationName == name } }

    func span(_ name: String) -> FinishedInMemorySpan? { spans(name).first }

    /// A request's span ends a little after its answer has come.
    func finished(_ name: String) async throws -> FinishedInMemorySpan {
        while true {
            if let span = span(name) { return span }
            try await Task.sleep(for: .milliseconds(1))
        }
    }
}

extension FinishedInMemorySpan {
    fileprivate func string(_ name: String) -> String? {
        if case .string(let text)? = attributes.get(name) { text } else { nil }
    }
}

extension Exposition {
    fileprivate func openMetrics() -> String {
        String(decoding: rendered(.openMetrics), as: UTF8.self)
    }
}
