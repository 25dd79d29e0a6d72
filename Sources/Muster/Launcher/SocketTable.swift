// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterLock
import MusterPlatform
import MusterSupervision

/// The listening sockets of a program by name: opened here, or inherited from the supervisor.
final class SocketTable: Sendable {
    private struct State {
        var sockets: [(name: String, socket: ListeningSocket)] = []
        /// Duplicates of the sockets that are replaced for a while, by their descriptors.
        var suspended: [(descriptor: Int32, original: Int32)] = []
        var isRetired = false
    }

    private let inherited: WorkerMarker?
    private let state = Locked(State())

    init(inherited: WorkerMarker? = nil) {
        self.inherited = inherited
    }

    func listen(
        _ name: String, on address: ListenAddress, setting: String, backlog: Int32
    ) throws -> ListeningSocket {
        guard !name.isEmpty else { throw LaunchError.emptySocketName }
        if state.withLock({ $0.sockets.contains { $0.name == name } }) { throw LaunchError.socketNameTaken(name) }
        let socket: ListeningSocket
        if let inherited {
            guard let descriptor = inherited.sockets.first(where: { $0.name == name })?.descriptor else {
                throw LaunchError.socketNotInherited(name)
            }
            socket = try ListeningSocket(.descriptor(descriptor), setting: setting, backlog: backlog)
            // The socket is a duplicate.
            Glibc.close(descriptor)
        } else {
            socket = try ListeningSocket(address, setting: setting, backlog: backlog)
        }
        state.withLock { $0.sockets.append((name, socket)) }
        return socket
    }

    var plan: [SupervisorPlan.Socket] {
        state.withLock { $0.sockets.map { SupervisorPlan.Socket(name: $0.name, descriptor: $0.socket.descriptor) } }
    }

    // MARK: While the services stop

    /// Makes this process stop listening, although its services may still use the descriptors: a socket that does not
    /// listen replaces them. Tasks that wait for a connection go on, and accepting fails with `EINVAL`. With the last
    /// listening descriptor gone, new connections are refused instead of forgotten.
    func retire() {
        let saved = state.withLock { state in
            state.isRetired = true
            defer { state.suspended = [] }
            return state.suspended
        }
        for (_, original) in saved { Glibc.close(original) }
        if inherited == nil {
            for (_, socket) in state.withLock({ $0.sockets }) {
                socket.unlinkFile()
                socket.endClaim()
            }
        }
        replace()
    }

    /// As ``retire()``, until ``resume()``: connections wait meanwhile.
    func suspend() {
        let saved = descriptors.map { ($0, original: fcntl($0, F_DUPFD_CLOEXEC, 3)) }
        // What cannot be given back is not taken.
        guard saved.allSatisfy({ $0.original >= 0 }) else {
            for (_, original) in saved where original >= 0 { Glibc.close(original) }
            return
        }
        state.withLock { $0.suspended = saved }
        replace()
    }

    /// Listens again.
    func resume() {
        let saved = state.withLock { state in
            defer { state.suspended = [] }
            return state.suspended
        }
        for (descriptor, original) in saved {
            // A service that has closed it may have another file there by now.
            if isReplaced(descriptor) { Self.put(original, at: descriptor) }
            Glibc.close(original)
        }
    }

    private var descriptors: [Int32] {
        let claimed = state.withLock { $0.sockets }
        let unclaimed = (inherited?.sockets ?? []).filter { socket in !claimed.contains { $0.name == socket.name } }
        return claimed.map(\.socket.descriptor) + unclaimed.map(\.descriptor)
    }

    private func replace() {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let dead = socket(AF_UNIX, kind, 0)
        guard dead >= 0 else { return }
        defer { Glibc.close(dead) }
        let descriptors = descriptors
        for descriptor in descriptors { Self.put(dead, at: descriptor) }
        EventLoop.wakeWaiters(of: descriptors)
    }

    private static func put(_ socket: Int32, at descriptor: Int32) {
        if dup2(socket, descriptor) >= 0 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    }

    private func isReplaced(_ descriptor: Int32) -> Bool {
        var isListening: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &size) == 0 && isListening == 0
            && !state.withLock { $0.isRetired }
    }

    /// Closes the sockets and removes the files of Unix ones.
    func close() {
        let all = state.withLock { state in
            defer { state.sockets = [] }
            return state.sockets
        }
        for (_, socket) in all {
            socket.unlinkFile()
            socket.closeDescriptor()
        }
    }
}
