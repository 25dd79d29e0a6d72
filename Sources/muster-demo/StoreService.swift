// SPDX-License-Identifier: Apache-2.0

import Muster
import NIOCore
import NIOHTTP1
import NIOPosix

/// The store, its HTTP server and its looping calls.
final class StoreService: ServiceBase {
    let name = "store"
    let threadGroup = ThreadGroup(name: "store", capacity: 512, whenFull: .reject)

    private let host: String
    private let port: UInt16
    private let interval: Duration
    private let store: Store
    private let metrics: StoreMetrics
    private let server = Locked<HTTPServer?>(nil)

    init(host: String, port: UInt16, shards: Int, interval: Duration, metrics: MetricRegistry) throws {
        self.host = host
        self.port = port
        self.interval = interval
        store = Store(shards: shards)
        self.metrics = try StoreMetrics(metrics)
    }

    /// Where the store is served, once it is.
    var url: String? { server.withLock { $0?.url } }

    func start() async throws {
        let api = StoreAPI(store: store, engine: try Backend.current.engine)
        let server = try await HTTPServer(
            host: host, port: Int(port), threadGroup: threadGroup, metrics: metrics, respond: api.respond)
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
        let server = server.withLock { $0 }
        // No new request is taken; those that are here are answered, and then their connections are closed.
        try await server?.stopAccepting()
        try await threadGroup.stop(graceful: graceful, until: deadline)
        try await server?.close()
        self.server.withLock { $0 = nil }
    }
}
