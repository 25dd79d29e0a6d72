// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster
import SwiftOverlayShims

/// What the store answers. Each request runs as a job of its own.
struct StoreAPI: Sendable {
    let store: Store
    let engine: any ExecutionEngine

    private static let longestBlock = 3600.0

    func respond(_ request: HTTPRequest) async -> HTTPReply {
        let parts = request.path.split(separator: "/", omittingEmptySubsequences: true).map(String.init)
        switch (request.method, parts.first, parts.count) {
        case ("GET", nil, _): return HTTPReply(route: "/", text: Self.help)
        case ("GET", "items", 1): return list()
        case (_, "items", 2): return item(parts[1], request)
        case ("GET", "block", 1): return block(request)
        default: return HTTPReply(route: "other", status: 404, text: "no such page; GET / lists them\n")
        }
    }

    private static let help = """
        muster-demo: a key-value store
          PUT    /items/KEY?ttl=SECONDS   store the body under KEY, for ever without ttl
          GET    /items/KEY               the value
          DELETE /items/KEY               forget it
          GET    /items                   how much there is, by shard
          GET    /block?seconds=S         block the thread of this request's job for S seconds: on the
                                          cooperative backend that is the hub, and /livez notices

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
        switch request.method {
        case "PUT":
            var ttl: Duration?
            if let text = request.query["ttl"] {
                guard let duration = Duration(parsing: text), duration > .zero else {
                    return HTTPReply(route: route, status: 400, text: "ttl must be a duration such as 60 or 5m\n")
                }
                ttl = duration
            }
            store.set(key, to: request.body, expiring: ttl)
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

    /// Blocks the job's thread, as a call into a library that knows nothing of Swift's concurrency would.
    private func block(_ request: HTTPRequest) -> HTTPReply {
        guard let text = request.query["seconds"], let seconds = Double(text), (0...Self.longestBlock).contains(seconds)
        else {
            return HTTPReply(route: "/block", status: 400, text: "seconds must be from 0 to 3600\n")
        }
        var left = timespec(tv_sec: Int(seconds), tv_nsec: Int((seconds - seconds.rounded(.down)) * 1e9))
        var rest = timespec()
        while nanosleep(&left, &rest) != 0, errno == EINTR { left = rest }
        return HTTPReply(route: "/block", text: "blocked for \(seconds) s\n")
    }
}
