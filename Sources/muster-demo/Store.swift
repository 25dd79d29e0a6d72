// SPDX-License-Identifier: Apache-2.0

import Muster

/// Values by key, divided into shards, each behind a lock of its own.
final class Store: Sendable {
    /// What a pass over one shard found.
    struct Summary: Sendable {
        var items = 0
        var bytes = 0
        var expired = 0
        /// A checksum (FNV-1a) over the keys and values in the order of the keys.
        var checksum: UInt64 = 0xcbf2_9ce4_8422_2325
    }

    private struct Item {
        let value: [UInt8]
        let expires: MonotonicInstant?
    }

    private let shards: [Locked<[String: Item]>]

    init(shards count: Int) {
        shards = (0..<count).map { _ in Locked([:]) }
    }

    var shardCount: Int { shards.count }

    subscript(key: String) -> [UInt8]? {
        shard(of: key).withLock { items in
            guard let item = items[key], item.expires.map({ $0 > .now }) ?? true else { return nil }
            return item.value
        }
    }

    func set(_ key: String, to value: [UInt8], expiring: Duration?) {
        let item = Item(value: value, expires: expiring.map { MonotonicInstant.now.advanced(by: $0) })
        shard(of: key).withLock { $0[key] = item }
    }

    func remove(_ key: String) -> Bool {
        shard(of: key).withLock { $0.removeValue(forKey: key) != nil }
    }

    /// Removes what has expired from a shard and sums the rest up.
    func sweep(shard index: Int, at now: MonotonicInstant) -> Summary {
        shards[index].withLock { items in
            var summary = Summary()
            let before = items.count
            items = items.filter { $0.value.expires.map { $0 > now } ?? true }
            summary.expired = before - items.count
            summary.items = items.count
            for (key, item) in items.sorted(by: { $0.key < $1.key }) {
                summary.bytes += item.value.count
                for byte in key.utf8 { summary.add(byte) }
                for byte in item.value { summary.add(byte) }
            }
            return summary
        }
    }

    /// Does something with a shard's lock held, which nobody else gets meanwhile.
    func withShardLocked(_ index: Int, _ body: () -> Void) {
        shards[index].withLock { _ in body() }
    }

    private func shard(of key: String) -> Locked<[String: Item]> {
        var hash = Summary()
        for byte in key.utf8 { hash.add(byte) }
        return shards[Int(hash.checksum % UInt64(shards.count))]
    }
}

extension Store.Summary {
    fileprivate mutating func add(_ byte: UInt8) {
        checksum = (checksum ^ UInt64(byte)) &* 0x100_0000_01b3
    }
}
