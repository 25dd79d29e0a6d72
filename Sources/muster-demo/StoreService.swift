// SPDX-License-Identifier: Apache-2.0

import Glibc
import HTTPTypes
import Logging
import Muster

/// The store over HTTP, with a looping call for each shard.
final class StoreService: ServiceBase {
    let name = "store"
    /// Of the looping calls, and of what lasts longer than a request of the store.
    let threadGroup = ThreadGroup(name: "store", capacity: 512, whenFull: .reject)

    /// For requests that compute.
    private let pool = WorkPool(
        name: "compute", kind: .threads, workers: 1...4, queueLimit: 16, whenFull: .reject)
    private let volumeCheck: BackOffLoopingCall
    private let volumeInterval: Duration?
    private let interval: Duration
    private let report: Schedule?
    private let store: Store
    private let metrics: StoreMetrics
    private let server: HTTPServer

    /// Creates the service.
    ///
    /// - Parameters:
    ///   - socket: Where connections are taken from.
    ///   - folder: Where the items are.
    ///   - limit: How many bytes of the volume the items may use; 0 for no limit.
    ///   - shards: The number of shards.
    ///   - interval: The interval of each shard's looping call.
    ///   - volumeInterval: How often to check that items can be written; `nil` for never.
    ///   - report: When one of the workers logs what is stored; never when `nil`.
    ///   - idleGrace: How long a connection without a request is kept once the service stops.
    ///   - metrics: Where the store's metrics are registered.
    ///   - describe: What the process says of itself on the store's first page.
    /// - Throws: What registering the metrics throws; `SystemError` when the folder cannot be used.
    init(
        at socket: ListeningSocket, folder: String, limit: Int, shards: Int, interval: Duration,
        volumeInterval: Duration?, idleGrace: Duration, report: Schedule?, metrics registry: MetricRegistry,
        describe: @escaping @Sendable () -> String
    ) throws {
        let store = try Store(folder: folder, shards: shards, limit: limit)
        let metrics = try StoreMetrics(registry)
        let api = StoreAPI(store: store, metrics: registry)
        let trouble = TroubleAPI(store: store, threadGroup: threadGroup, pool: pool)
        // Less often while it fails.
        volumeCheck = BackOffLoopingCall(name: "volume") { store.isWritable }
        self.volumeInterval = volumeInterval
        self.interval = interval
        self.report = report
        self.store = store
        self.metrics = metrics
        var limits = HTTPServer.Limits()
        // Trouble lasts as long as it is asked for.
        limits.handlerTimeout = nil
        limits.idleGrace = idleGrace
        server = HTTPServer(name: name, socket: socket, limits: limits) { routes in
            func add(
                _ method: HTTPRequest.Method, _ pattern: String, as route: String,
                _ handler: @escaping HTTPRouter.Handler
            ) {
                routes.on(method, pattern, metrics.counting(route, handler))
            }
            add(.get, "/", as: "/") { _ in .text(describe() + "\n" + StoreAPI.help) }
            add(.get, "/items", as: "/items", api.list)
            add(.get, "/items/{key}", as: "/items/KEY", api.get)
            add(.put, "/items/{key}", as: "/items/KEY", api.put)
            add(.delete, "/items/{key}", as: "/items/KEY", api.delete)
            for (name, handler) in trouble.handlers { add(.get, "/\(name)", as: "/\(name)", handler) }
            add(.get, "/{path...}", as: "other") { _ in
                throw HTTPServer.Failure(.notFound, "no such page; GET / lists them")
            }
        }
    }

    func start() async throws {
        try await server.start()
        try pool.open()
        if let volumeInterval {
            try volumeCheck.start(.init(startingInterval: volumeInterval, timeout: .zero))
        }
        for shard in 0..<store.shardCount {
            let items = metrics.items.labels("\(shard)")
            let bytes = metrics.bytes.labels("\(shard)")
            let expired = metrics.expired.labels("\(shard)")
            try threadGroup.addTimer(name: "sweep-\(shard)", interval: interval) { [store] in
                let summary = store.sweep(shard: shard, at: .now)
                items.set(Double(summary.items))
                bytes.set(Double(summary.bytes))
                expired.increment(by: summary.expired)
            }
        }
        guard let report else { return }
        try threadGroup.addPeriodicTask(
            PeriodicTask("report", report, on: .oneWorker) { [store] in
                let summaries = (0..<store.shardCount).map { store.sweep(shard: $0, at: .now) }
                Logger(label: "muster-demo").info(
                    "stored",
                    metadata: [
                        "items": "\(summaries.reduce(0) { $0 + $1.items })",
                        "bytes": "\(summaries.reduce(0) { $0 + $1.bytes })",
                    ])
            })
    }

    func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {
        volumeCheck.stop()
        do {
            // The group goes on until every request has its answer: the next one may be on its way.
            try await server.stop(graceful: graceful, until: deadline)
        } catch {
            try? await pool.shutDown(cancelQueued: true, until: deadline)
            try? await threadGroup.stop(graceful: false, until: deadline)
            throw error
        }
        try await pool.shutDown(until: deadline)
        try await threadGroup.stop(graceful: graceful, until: deadline)
    }
}

/// What the store answers. An error of the system that is not said here is logged by the server, and answered with 500.
private struct StoreAPI: Sendable {
    let store: Store

    private let logger = Logger(label: "muster-demo")
    /// An error of the device may pass.
    private let retry: RetryDecorator

    init(store: Store, metrics: MetricRegistry) {
        self.store = store
        retry = RetryDecorator(
            name: "put", maximumRetries: 3, delayIncrement: .milliseconds(50), metrics: metrics,
            isRetryable: { ($0 as? SystemError)?.code == EIO })
    }

    static let help = """
          PUT    /items/KEY?ttl=SECONDS   store the body under KEY, for ever without ttl; 507 when the
                                          store is full
          GET    /items/KEY               the value
          DELETE /items/KEY               forget it
          GET    /items                   how much there is, by shard

        \(TroubleAPI.help)

        """

    @Sendable
    func list(_ request: HTTPServer.Request) -> HTTPServer.Response {
        let lines = (0..<store.shardCount).map { shard in
            let summary = store.sweep(shard: shard, at: .now)
            return "shard \(shard): \(summary.items) items, \(summary.bytes) bytes, checksum \(summary.checksum)"
        }
        return .text(lines.joined(separator: "\n") + "\n")
    }

    @Sendable
    func get(_ request: HTTPServer.Request) throws -> HTTPServer.Response {
        guard let value = try store.value(of: key(request)) else { throw HTTPServer.Failure(.notFound, "no such item") }
        return HTTPServer.Response(headerFields: [.contentType: "application/octet-stream"], body: .bytes(value))
    }

    @Sendable
    func put(_ request: HTTPServer.Request) async throws -> HTTPServer.Response {
        let key = try key(request)
        var ttl: Duration?
        if let text = request.query("ttl") {
            guard let duration = Duration(parsing: text), duration > .zero else {
                throw HTTPServer.Failure(.badRequest, "ttl must be a duration such as 60 or 5m")
            }
            ttl = duration
        }
        let value = try await request.body.collect()
        try await retry { try change { try store.set(key, to: value, expiring: ttl) } }
        return HTTPServer.Response(status: .noContent)
    }

    @Sendable
    func delete(_ request: HTTPServer.Request) throws -> HTTPServer.Response {
        let key = try key(request)
        guard try change({ try store.remove(key) }) else { throw HTTPServer.Failure(.notFound, "no such item") }
        return HTTPServer.Response(status: .noContent)
    }

    private func key(_ request: HTTPServer.Request) throws(HTTPServer.Failure) -> String {
        let key = request.parameters["key"] ?? ""
        guard key.utf8.count <= Store.longestKey else {
            throw HTTPServer.Failure(.uriTooLong, "the key must have \(Store.longestKey) bytes or less")
        }
        return key
    }

    /// Changes the store; what the client can do something about gets an answer of its own.
    private func change<Value>(_ body: () throws -> Value) throws -> Value {
        do {
            return try body()
        } catch let error as StoreFull {
            throw HTTPServer.Failure(.init(code: 507, reasonPhrase: "Insufficient Storage"), "\(error)")
        } catch let error as SystemError where error.code == EROFS {
            logger.error("volume is read-only", metadata: ["error": "\(error)"])
            throw HTTPServer.Failure(.serviceUnavailable, "the store's volume is read-only: nothing was changed")
        }
    }
}

/// The application's own metrics.
private struct StoreMetrics: Sendable {
    let requests: CounterFamily
    let duration: HistogramFamily
    let items: GaugeFamily
    let bytes: GaugeFamily
    let expired: CounterFamily

    init(_ registry: MetricRegistry) throws {
        requests = try registry.counterFamily(
            "demo_http_requests_total", help: "Requests answered.", labelNames: ["route", "code"])
        duration = try registry.histogramFamily(
            "demo_http_request_duration_seconds", help: "From a request's headers to its answer.", unit: .seconds,
            buckets: .seconds.precise(), labelNames: ["route"])
        items = try registry.gaugeFamily(
            "demo_store_items", help: "Items in a shard, as this worker last saw it.", labelNames: ["shard"])
        bytes = try registry.gaugeFamily(
            "demo_store_size_bytes", help: "Bytes of the values in a shard, as this worker last saw it.", unit: .bytes,
            labelNames: ["shard"])
        expired = try registry.counterFamily(
            "demo_store_expired_items_total", help: "Items removed because their time was over.",
            labelNames: ["shard"])
    }

    /// Counts and times a route's requests.
    func counting(_ route: String, _ handler: @escaping HTTPRouter.Handler) -> HTTPRouter.Handler {
        { request in
            let began = MonotonicInstant.now
            var code = 500
            defer {
                requests.labels(route, "\(code)").increment()
                duration.labels(route).observe(began.duration(to: .now))
            }
            do {
                let response = try await handler(request)
                code = response.head.status.code
                return response
            } catch let failure as HTTPServer.Failure {
                code = failure.status.code
                throw failure
            }
        }
    }
}
