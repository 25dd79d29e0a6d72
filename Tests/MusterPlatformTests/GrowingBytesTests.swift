// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@Suite struct GrowingBytesTests {
    private func replace(_ memory: GrowingBytes, with bytes: [UInt8]) {
        bytes.withUnsafeBufferPointer { memory.replace(with: $0) }
    }

    @Test("Content survives when room is made behind it")
    func growth() {
        let memory = GrowingBytes(capacity: 4)
        replace(memory, with: [1, 2, 3, 4])
        for size in [1, 5000, 1 << 20] {
            memory.reserve(size)
            #expect(memory.capacity - memory.count >= size)
            #expect(memory.withBytes { Array($0) } == [1, 2, 3, 4])
        }
    }

    @Test("Content is replaced where it is, as long as there is room")
    func replacement() {
        let memory = GrowingBytes(capacity: 100)
        let address = memory.pointer
        replace(memory, with: [UInt8](repeating: 7, count: 100))
        replace(memory, with: [8])
        #expect(memory.pointer == address && memory.capacity == 100)
        #expect(memory.withBytes { Array($0) } == [8])
        replace(memory, with: [])
        #expect(memory.count == 0)
        let long = [UInt8](repeating: 9, count: 101)
        replace(memory, with: long)
        #expect(memory.withBytes { Array($0) } == long)
    }
}
