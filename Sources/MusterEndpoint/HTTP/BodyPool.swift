// SPDX-License-Identifier: Apache-2.0

/// Bodies that wait for their next use.
final class BodyPool {
    private static let capacity = 4
    private var spares: [BodyStorage] = []

    func make() -> BodyStorage {
        spares.popLast() ?? BodyStorage(capacity: 16 << 10, pool: self)
    }

    func take(_ storage: BodyStorage) {
        if spares.count < Self.capacity { spares.append(storage) }
    }

    /// Lets go of the spares, which know the pool.
    func empty() {
        spares = []
    }
}
