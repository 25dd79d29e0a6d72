// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterTestSupport
import Testing

@testable import MusterPlatform

@Suite struct NativeThreadTests {
    /// The name the kernel knows the calling thread by.
    static func currentName() -> String {
        let descriptor = OwnedDescriptor(open("/proc/thread-self/comm", O_RDONLY | O_CLOEXEC))
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = read(descriptor.rawValue, &buffer, buffer.count)
        return String(decoding: buffer.prefix(max(0, count - 1)), as: UTF8.self)
    }

    @Test func `a thread carries its name, cut to what the kernel keeps`() async throws {
        #expect(try await onThread("short") { Self.currentName() } == "short")
        #expect(try await onThread("a-name-that-is-too-long") { Self.currentName() } == "a-name-that-is-")
        let renamed = try await onThread("before") {
            NativeThread.setName("after")
            return Self.currentName()
        }
        #expect(renamed == "after")
    }

    @Test func `a thread is neither the caller's nor the process' first`() async throws {
        let (identifier, isMain) = try await onThread { (NativeThread.currentIdentifier, NativeThread.isMain) }
        #expect(identifier != getpid())
        #expect(!isMain)
    }

    @Test(arguments: [-1, 0, 1, 70_001, 1 << 20])
    func `a stack that is too small or no whole number of pages is made to fit`(stackSize: Int) async throws {
        await withCheckedContinuation { continuation in
            #expect(throws: Never.self) {
                try NativeThread.start(name: "stack", stackSize: stackSize) { continuation.resume() }
            }
        }
    }

    @Test(arguments: [1 << 50, Int.max])
    func `a stack that the system has no room for is an error`(stackSize: Int) throws {
        let error = #expect(throws: SystemError.self) {
            try NativeThread.start(name: "huge", stackSize: stackSize) {}
        }
        #expect(error?.operation == "pthread_create")
    }
}
