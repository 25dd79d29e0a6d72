// SPDX-License-Identifier: Apache-2.0

import CMuster

extension EventLoop {
    /// Suspends the calling task until a descriptor is ready.
    ///
    /// Any number of tasks may wait for one descriptor, in either direction. It may have been read or written by
    /// another one when the task goes on, so the call that follows should be prepared for `EAGAIN`. The descriptor
    /// must stay open meanwhile: closing it leaves the task waiting until it is cancelled.
    ///
    /// - Parameters:
    ///   - descriptor: The descriptor, which should be non-blocking.
    ///   - events: What to wait for; an error or a hang-up on the descriptor ends every wait.
    /// - Throws: `CancellationError` as soon as the task is cancelled; ``EventLoopError/cannotWatch(descriptor:_:)``.
    public func ready(_ descriptor: Int32, for events: DescriptorEvents) async throws {
        if isCurrent { return try await readyHere(descriptor, for: events) }
        try await withTaskExecutorPreference(self) { try await self.readyHere(descriptor, for: events) }
    }

    private func readyHere(_ descriptor: Int32, for events: DescriptorEvents) async throws {
        let poller = try pollerForUse(descriptor)
        let identifier = poller.reserve()
        let outcome = await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                poller.arm(identifier, descriptor: descriptor, events: events, continuation: continuation)
            }
        } onCancel: {
            if isCurrent { poller.cancel(identifier) } else { submit { poller.cancel(identifier) } }
        }
        switch outcome {
        case .ready: return
        case .cancelled: throw CancellationError()
        case .failed(let error): throw EventLoopError.cannotWatch(descriptor: descriptor, error)
        }
    }

    /// Names a watched descriptor.
    public struct Watch: Sendable {
        fileprivate let identifier: UInt64
    }

    /// Calls a closure on the loop's thread whenever a descriptor is ready (level-triggered), until
    /// ``unwatch(_:)``. To be called on the loop's thread, or while none runs it.
    ///
    /// A loop that watches something is not idle. A hang-up is reported again and again, so a handler should end
    /// the watch then. Several watches, and tasks that wait, may share a descriptor.
    ///
    /// - Parameters:
    ///   - descriptor: The descriptor.
    ///   - events: What to watch for.
    ///   - handler: Called with what the descriptor is ready for; it must not block.
    /// - Returns: A name by which the watch can be ended.
    /// - Throws: ``EventLoopError/cannotWatch(descriptor:_:)``.
    public func watch(
        _ descriptor: Int32, for events: DescriptorEvents, _ handler: @escaping @Sendable (DescriptorEvents) -> Void
    ) throws(EventLoopError) -> Watch {
        requireOwnThread("watch", orDetached: true)
        let poller = try pollerForUse(descriptor)
        do {
            return Watch(identifier: try poller.watch(descriptor, events: events, handler: handler))
        } catch {
            throw .cannotWatch(descriptor: descriptor, error)
        }
    }

    /// Ends a watch; the descriptor must still be open. To be called on the loop's thread, or while none runs it.
    ///
    /// - Parameter watch: The watch's name.
    public func unwatch(_ watch: Watch) {
        requireOwnThread("unwatch", orDetached: true)
        poller?.unwatch(watch.identifier)
    }

    private func pollerForUse(_ descriptor: Int32) throws(EventLoopError) -> DescriptorPoller {
        if let poller { return poller }
        let created: DescriptorPoller
        do {
            created = try DescriptorPoller()
        } catch {
            throw .cannotWatch(descriptor: descriptor, error)
        }
        poller = created
        parkingLot.useDescriptor(created.wakeDescriptor)
        return created
    }

    // MARK: The main queue

    /// Makes this loop serve libdispatch's main queue, so that `MainActor` code runs while the main thread runs the
    /// loop. To be called on the main thread, before it runs the loop, by a program whose `main` is synchronous.
    ///
    /// Should another thread run the loop later, it leaves the main queue alone from then on.
    ///
    /// - Throws: ``EventLoopError/cannotWatch(descriptor:_:)``.
    public func serveMainQueue() throws(EventLoopError) {
        if let mainQueue { unwatch(mainQueue) }
        mainQueue = try watch(cmuster_main_queue_descriptor(), for: .readable) { [unowned self] _ in drainMainQueue() }
        submit { [self] in drainMainQueue() }
    }

    private func drainMainQueue() {
        if cmuster_is_main_thread() {
            cmuster_main_queue_drain()
        } else if let watch = mainQueue.take() {
            unwatch(watch)
        }
    }
}
