// SPDX-License-Identifier: Apache-2.0

import Muster

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
          PUT    /items/KEY?ttl=SECONDS   store the body under KEY, for ever without ttl
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
            } catch {
                return HTTPReply(route: route, status: 507, text: "\(error)\n")
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
