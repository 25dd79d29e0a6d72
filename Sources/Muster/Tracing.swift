// SPDX-License-Identifier: Apache-2.0

import HTTPTypes
import Instrumentation
import MusterMetrics
import Synchronization
import Tracing

/// Whether what runs on a backend is traced. Without an instrument that is the one thing that is looked at.
final class BackendTracing: Sendable {
    private let flag = Atomic<Bool>(false)
    private let metrics: MetricRegistry

    init(metrics: MetricRegistry) {
        self.metrics = metrics
        refresh()
    }

    @inline(__always)
    var isOn: Bool { flag.load(ordering: .relaxed) }

    /// Looks whether the program has an instrument by now, or the caller's scope has. Called where something begins: a
    /// loop, a server, the use of a thread group, a service.
    func refresh() {
        guard !isOn, !(InstrumentationSystem.instrument is NoOpInstrument) else { return }
        flag.store(true, ordering: .relaxed)
        metrics.sampleExemplars()
    }
}

/// A span of the runtime's own: a run of a loop, a thread of a group, a request.
struct RuntimeSpan: Sendable {
    private let span: any Span

    /// - Parameters:
    ///   - context: What it is part of.
    ///   - attributes: Names as OpenTelemetry has them; `muster.` and a metric's label where it has none.
    init(
        _ name: String, _ kind: SpanKind = .internal, by tracer: any Tracer = InstrumentationSystem.tracer,
        in context: ServiceContext = .current ?? .topLevel, attributes: [String: String]
    ) {
        span = tracer.startSpan(name, context: context, ofKind: kind)
        span.updateAttributes { all in
            for (name, value) in attributes { all[name] = value }
        }
    }

    /// - Parameter error: What it failed with. A cancellation is no failure.
    func end(_ error: (any Error)? = nil) {
        if let error, !(error is CancellationError) {
            span.recordError(error)
            span.attributes["error.type"] = String(reflecting: type(of: error))
            span.setStatus(SpanStatus(code: .error, message: "\(error)"))
        }
        span.end()
    }

    /// Ends a request's span.
    ///
    /// - Parameter status: The response's; `nil` when the client left before it.
    func end(status: Int?) {
        if let status {
            span.attributes["http.response.status_code"] = status
            if status >= 500 {
                span.attributes["error.type"] = "\(status)"
                span.setStatus(SpanStatus(code: .error))
            }
        }
        span.end()
    }

    /// Runs something in a span; without one, just runs it.
    @inline(__always)
    static func within<Result>(_ span: RuntimeSpan?, _ body: () throws -> Result) rethrows -> Result {
        guard let span else { return try body() }
        return try ServiceContext.withValue(span.span.context, operation: body)
    }

    /// Runs something in a span; without one, just runs it.
    @inline(__always)
    nonisolated(nonsending) static func within<Result>(
        _ span: RuntimeSpan?, _ body: nonisolated(nonsending) () async throws -> Result
    ) async rethrows -> Result {
        guard let span else { return try await body() }
        return try await ServiceContext.$current.withValue(span.span.context) { try await body() }
    }
}

/// The spans of a server's requests.
struct RequestTracing: Sendable {
    private let tracing: BackendTracing
    /// Those of the scope in which the server was started, which its requests are not in; `nil` without an instrument then.
    private let scope: (instrument: any Instrument, tracer: any Tracer)?

    init(_ tracing: BackendTracing) {
        tracing.refresh()
        self.tracing = tracing
        scope = tracing.isOn ? (InstrumentationSystem.instrument, InstrumentationSystem.tracer) : nil
    }

    var isOn: Bool { tracing.isOn }

    /// Begins a request's span, within what its headers tell of the client's.
    func begin(_ head: HTTPRequest, route: String?, isSecure: Bool) -> RuntimeSpan {
        let instrument = scope?.instrument ?? InstrumentationSystem.instrument
        var context = ServiceContext.topLevel
        instrument.extract(head.headerFields, into: &context, using: HeaderExtractor())
        let method = Self.methods.contains(head.method) ? head.method.rawValue : "_OTHER"
        var attributes = [
            "http.request.method": method, "url.path": String(HTTPServer.Request.path(of: head.path ?? "/")),
            "url.scheme": isSecure ? "https" : "http", "network.protocol.version": "1.1",
        ]
        attributes["http.route"] = route
        if method == "_OTHER" { attributes["http.request.method_original"] = head.method.rawValue }
        attributes["user_agent.original"] = head.headerFields[.userAgent]
        let name = method == "_OTHER" ? "HTTP" : method
        return RuntimeSpan(
            route.map { "\(name) \($0)" } ?? name, .server, by: scope?.tracer ?? InstrumentationSystem.tracer,
            in: context, attributes: attributes)
    }

    private static let methods: Set<HTTPRequest.Method> = [
        .get, .head, .post, .put, .delete, .patch, .options, .trace, .connect,
    ]

    private struct HeaderExtractor: Extractor {
        func extract(key: String, from fields: HTTPFields) -> String? {
            HTTPField.Name(key).flatMap { fields[$0] }
        }
    }
}
