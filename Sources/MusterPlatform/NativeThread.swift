// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc

/// Starts native threads.
public enum NativeThread {
    /// Starts a detached thread that runs a closure and ends with it.
    ///
    /// - Parameters:
    ///   - name: The thread's name; the kernel keeps its first 15 bytes.
    ///   - stackSize: The stack's size in bytes, raised to 64 KiB where it is less; the system's default when
    ///     `nil`. The kernel commits it page by page as it is used.
    ///   - body: What the thread runs.
    /// - Throws: ``SystemError`` when the system has no room for another thread.
    public static func start(
        name: String, stackSize: Int? = nil, _ body: @escaping @Sendable () -> Void
    ) throws(SystemError) {
        let code = create(ThreadStart(name: name, body: body), stackSize: stackSize)
        if code != 0 { throw SystemError("pthread_create", code: code) }
    }

    private static let smallestStack = 64 << 10

    private static func create(_ start: ThreadStart, stackSize: Int?) -> Int32 {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        if let stackSize {
            // Rounded up to pages, as the call demands on some systems.
            let (sum, overflow) = max(stackSize, smallestStack).addingReportingOverflow(4095)
            let code = pthread_attr_setstacksize(&attributes, (overflow ? Int.max : sum) & ~4095)
            if code != 0 { return code }
        }
        let argument = Unmanaged.passRetained(start)
        var thread = pthread_t()
        let code = pthread_create(&thread, &attributes, runThread, argument.toOpaque())
        if code != 0 { argument.release() }
        return code
    }

    /// Names the calling thread.
    ///
    /// - Parameter name: The name; the kernel keeps its first 15 bytes.
    public static func setName(_ name: String) {
        cmuster_set_thread_name(name)
    }

    /// The kernel's number of the calling thread.
    public static var currentIdentifier: Int32 {
        cmuster_thread_id()
    }

    /// Whether the calling thread is the process' first.
    public static var isMain: Bool {
        cmuster_is_main_thread()
    }
}

private func runThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
    NativeThread.setName(start.name)
    start.body()
    return nil
}

private final class ThreadStart: Sendable {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}
