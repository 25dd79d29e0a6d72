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
    ///   - shards: The number of shards.
    ///   - interval: The interval of each shard's looping call.
    ///   - idleGrace: How long a connection without a request is kept once the service stops.
    ///   - metrics: Where the store's metrics are registered.
    ///   - describe: What the process says of itself on the store's first page.
    /// - Throws: What registering the metrics throws; `SystemError` when the folder cannot be used.
    init(
        at target: ListenTarget, folder: String, shards: Int, interval: Duration, idleGrace: Duration = .seconds(1),
        metrics: MetricRegistry, describe: @escaping @Sendable () -> String
    ) throws {
        self.target = target
        self.idleGrace = idleGrace
        self.describe = describe
        self.interval = interval
        store = try Store(folder: folder, shards: shards)
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
