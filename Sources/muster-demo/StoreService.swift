// SPDX-License-Identifier: Apache-2.0

import Muster
import NIOCore
import NIOHTTP1
import NIOPosix

/// The store, its HTTP server and its looping calls.
final class StoreService: ServiceBase {
    let name = "store"
    let threadGroup = ThreadGroup(name: "store", capacity: 512, whenFull: .reject)

    private let target: ListenTarget
    private let idleGrace: Duration
    private let describe: @Sendable () -> String
    private let interval: Duration
    private let store: Store
    private let metrics: StoreMetrics
    private let server = Locked<HTTPServer?>(nil)

    /// Creates the service.
    ///
    /// - Parameters:
    ///   - target: Where connections are taken from.
    ///   - folder: Where the items are.
    ///   - limit: How many bytes of the volume the items may use; 0 for no limit.
    ///   - shards: The number of shards.
    ///   - interval: The interval of each shard's looping call.
    ///   - idleGrace: How long a connection without a request is kept once the service stops.
    ///   - metrics: Where the store's metrics are registered.
    ///   - describe: What the process says of itself on the store's first page.
    /// - Throws: What registering the metrics throws; `SystemError` when the folder cannot be used.
    init(
        at target: ListenTarget, folder: String, limit: Int, shards: Int, interval: Duration,
        idleGrace: Duration = .seconds(1), metrics: MetricRegistry, describe: @escaping @Sendable () -> String
    ) throws {
        self.target = target
        self.idleGrace = idleGrace
        self.describe = describe
        self.interval = interval
        store = try Store(folder: folder, shards: shards, limit: limit)
        self.metrics = try StoreMetrics(metrics)
    }

    /// Where the store is served, once it is.
    var url: String? { server.withLock { $0?.url } }

    func start() async throws {
        let api = StoreAPI(store: store, engine: try Backend.current.engine, describe: describe)
        let server = try await HTTPServer(
            at: target, threadGroup: threadGroup, metrics: metrics, respond: api.respond)
        self.server.withLock { $0 = server }
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
    }

    func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {
        let server = server.withLock { $0.take() }
        if graceful {
            // The group goes on until every connection has had its answer: the next request may be on its way.
            await server?.beginDraining(grace: idleGrace, until: deadline)
            await server?.drained()
        } else {
            await server?.closeConnections()
        }
        do {
            try await threadGroup.stop(graceful: graceful, until: deadline)
        } catch {
            // The event loop goes on: the requests left will want to write their answers.
            await server?.closeConnections()
            throw error
        }
        try await server?.close()
    }
}

/// What the store answers. Each request runs as a job of its own.
struct StoreAPI: Sendable {
    let store: Store
    let engine: any ExecutionEngine
    /// What the process says of itself on the first page.
    let describe: @Sendable () -> String

    func respond(_ request: HTTPRequest) async -> HTTPReply {
        let parts = request.path.split(separator: "/", omittingEmptySubsequences: true).map(String.init)
        switch (request.method, parts.first, parts.count) {
        case ("GET", nil, _): return HTTPReply(route: "/", text: describe() + "\n" + Self.help)
        case ("GET", "items", 1): return list()
        case (_, "items", 2): return item(parts[1], request)
        case ("GET", let name?, 1):
            return await TroubleAPI(store: store, engine: engine).respond(to: name, request) ?? Self.notFound
        default: return Self.notFound
        }
    }

    private static let notFound = HTTPReply(route: "other", status: 404, text: "no such page; GET / lists them\n")

    private static let help = """
          PUT    /items/KEY?ttl=SECONDS   store the body under KEY, for ever without ttl; 507 when the
                                          store is full
          GET    /items/KEY               the value
          DELETE /items/KEY               forget it
          GET    /items                   how much there is, by shard

        \(TroubleAPI.help)

        """

    private func list() -> HTTPReply {
        let lines = (0..<store.shardCount).map { shard in
            let summary = store.sweep(shard: shard, at: .now)
            return "shard \(shard): \(summary.items) items, \(summary.bytes) bytes, checksum \(summary.checksum)"
        }
        return HTTPReply(route: "/items", text: lines.joined(separator: "\n") + "\n")
    }

    private func item(_ key: String, _ request: HTTPRequest) -> HTTPReply {
        let route = "/items/KEY"
        guard key.utf8.count <= Store.longestKey else {
            return HTTPReply(
                route: route, status: 414, text: "the key must have \(Store.longestKey) bytes or less\n")
        }
        switch request.method {
        case "PUT":
            var ttl: Duration?
            if let text = request.query["ttl"] {
                guard let duration = Duration(parsing: text), duration > .zero else {
                    return HTTPReply(route: route, status: 400, text: "ttl must be a duration such as 60 or 5m\n")
                }
                ttl = duration
            }
            do {
                try store.set(key, to: request.body, expiring: ttl)
            } catch let error as StoreFull {
                return HTTPReply(route: route, status: 507, text: "\(error)\n")
            } catch {
                return HTTPReply(route: route, status: 500, text: "\(error)\n")
            }
            return HTTPReply(route: route, status: 204, body: [])
        case "GET":
            guard let value = store[key] else { return HTTPReply(route: route, status: 404, text: "no such item\n") }
            return HTTPReply(route: route, body: value)
        case "DELETE":
            return store.remove(key)
                ? HTTPReply(route: route, status: 204, body: [])
                : HTTPReply(route: route, status: 404, text: "no such item\n")
        default:
            return HTTPReply(route: route, status: 405, text: "use GET, PUT or DELETE\n")
        }
    }
}
