// SPDX-License-Identifier: Apache-2.0

import CMusterBench
import Synchronization

/// A word in shared memory, where metrics live too.
final class SharedCell {
    private static let size = 4096
    let word: UnsafeMutablePointer<UInt64>
    let pointer: UnsafeMutablePointer<Atomic<UInt64>>

    init() throws {
        guard let memory = cmusterbench_map_shared(Self.size) else {
            throw BenchmarkError("the system has no memory file to give")
        }
        word = memory.bindMemory(to: UInt64.self, capacity: 1)
        pointer = memory.assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    deinit {
        cmusterbench_unmap(word, Self.size)
    }
}
