// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Glibc
import MusterPlatform

extension EndpointServer {
    // MARK: Accepting

    static let longestBatch = 64
    /// How long to wait when the system has no descriptor for a connection.
    static let shortagePause: Duration = .milliseconds(100)

    /// Accepts what waits. It is done here rather than by the library, which in want of descriptors would look for
    /// connections without pause, or, with some open, not look again.
    func acceptConnections() {
        guard !isStopping else { return }
        refreshAccess()
        guard let daemon = try? openDaemon() else { return }
        if connectionCount >= configuration.connectionLimit { makeRoom() }
        let room = configuration.connectionLimit - connectionCount
        if room <= 0 { return pauseAccepting() }
        passStart = MonotonicInstant.now.nanoseconds
        for _ in 0..<min(room, Self.longestBatch) {
            var address = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let isLast = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { accept(daemon.pointer, $0, &length) }
            }
            if isLast { break }
        }
        runPass()
    }

    /// Somebody waits for a connection and there are as many as allowed: the one that has been silent for longest
    /// has to go, so that idle clients cannot keep a probe out.
    func makeRoom() {
        // Those that have sent a request already do not count as silent.
        runPass()
        guard connectionCount >= configuration.connectionLimit else { return }
        evictLongestSilent()
        runPass()
    }

    /// Accepts one connection.
    ///
    /// - Returns: Whether there is no other one to be had now.
    func accept(
        _ daemon: OpaquePointer, _ address: UnsafeMutablePointer<sockaddr>, _ length: inout socklen_t
    ) -> Bool {
        let descriptor = cmicrohttpd_accept(socket.descriptor, address, &length)
        if descriptor >= 0 {
            // Should it fail, the library has closed the connection.
            _ = MHD_add_connection(daemon, descriptor, address, length)
            return false
        }
        switch errno {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM:
            // The kernel says so even if nobody waits.
            var waiting = pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, 0) > 0 else { return true }
            evictLongestSilent()
            pauseAccepting()
            isShortOfDescriptors = true
            loop.schedule(at: .now.advanced(by: Self.shortagePause)) { [weak self] in
                self?.isShortOfDescriptors = false
                self?.resumeAccepting()
            }
            return true
        case EAGAIN:
            return true
        default:
            // The client has given up meanwhile, for example.
            return false
        }
    }

    func pauseAccepting() {
        guard let listening else { return }
        loop.unwatch(listening)
        self.listening = nil
    }

    /// The descriptor is watched for its state, not for changes, so who waits is seen.
    func resumeAccepting() {
        guard !isStopping, listening == nil, !isShortOfDescriptors,
            connectionCount < configuration.connectionLimit || silent.head != nil
        else { return }
        listening = try? loop.watch(socket.descriptor, for: .readable) { [self] _ in acceptConnections() }
    }

    /// Ends the connections whose time is over, and sees to the timer for the next.
    func expire() {
        let now = MonotonicInstant.now
        let idle = end(silent, after: configuration.idleTimeout, at: now, .idle)
        let slow = end(answering, after: configuration.responseTimeout, at: now, .slowReader)
        let deadline = min(idle, slow)
        // A timer that fires too early does no harm; so each request moves none.
        guard deadline < timer?.deadline ?? .max else { return }
        if let timer { loop.cancel(timer.action) }
        let action = loop.schedule(at: MonotonicInstant(nanoseconds: deadline)) { [self] in
            timer = nil
            expire()
        }
        timer = (action, deadline)
    }

    func end(
        _ list: ConnectionList, after limit: Duration, at now: MonotonicInstant, _ closing: EndpointMetrics.Closing
    ) -> Int64 {
        while let connection = list.head {
            let deadline = MonotonicInstant(nanoseconds: connection.since).advanced(by: limit)
            guard deadline <= now else { return deadline.nanoseconds }
            connection.leave()
            connection.hangUp()
            metrics?.countClosing(closing)
        }
        return .max
    }

    // MARK: Connections

    func connectionStarted(_ connection: OpaquePointer) -> ConnectionState {
        let state = ConnectionState(descriptor: cmicrohttpd_connection_descriptor(connection))
        if let access, let session = cmicrohttpd_tls_session(connection) { access.prepare(state, session) }
        connectionCount += 1
        silent.append(state, at: passStart)
        return state
    }

    func evictLongestSilent() {
        guard let longest = silent.head else { return }
        longest.leave()
        longest.hangUp()
        metrics?.countClosing(.evicted)
    }

    func connectionEnded(_ state: ConnectionState) {
        state.leave()
        connectionCount -= 1
        isShortOfDescriptors = false
    }

    func state(of connection: OpaquePointer) -> ConnectionState? {
        cmicrohttpd_socket_context(connection).map {
            Unmanaged<ConnectionState>.fromOpaque($0).takeUnretainedValue()
        }
    }
}
