// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterLock
import MusterPlatform
import MusterSupervision

/// The listening sockets of a program by name: opened here, or inherited from the supervisor.
final class SocketTable: Sendable {
    /// A socket's descriptor, and which file it is: a service that has closed it may have another one there by now.
    private struct Known {
        let descriptor: Int32
        let identity: FileIdentity?

        init(_ descriptor: Int32) {
            self.descriptor = descriptor
            identity = try? FileIdentity(of: descriptor)
        }

        var isOpen: Bool { identity != nil && identity == (try? FileIdentity(of: descriptor)) }
    }

    private struct State {
        var sockets: [(name: String, socket: ListeningSocket, known: Known)] = []
        /// The sockets that nobody has asked for.
        var unclaimed: [(name: String, known: Known)] = []
        /// The sockets that do not listen, in the places of those that do.
        var replacements: [Known] = []
        /// Duplicates of the sockets that are replaced for a while.
        var suspended: [(known: Known, original: Int32)] = []
        var isRetired = false

        var listening: [Known] { (sockets.map(\.known) + unclaimed.map(\.known)).filter(\.isOpen) }

        func isReplaced(_ descriptor: Int32) -> Bool {
            replacements.contains { $0.descriptor == descriptor && $0.isOpen }
        }
    }

    private let inherited: WorkerMarker?
    private let state: Locked<State>

    init(inherited: WorkerMarker? = nil) {
        self.inherited = inherited
        state = Locked(State(unclaimed: (inherited?.sockets ?? []).map { ($0.name, Known($0.descriptor)) }))
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
        state.withLock { state in
            state.unclaimed.removeAll { $0.name == name }
            state.sockets.append((name, socket, Known(socket.descriptor)))
        }
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
            for (_, socket, known) in state.withLock({ $0.sockets }) {
                socket.unlinkFile()
                if known.isOpen { socket.endClaim() }
            }
        }
        replace(state.withLock { $0.listening + $0.replacements.filter(\.isOpen) })
    }

    /// As ``retire()``, until ``resume()``: connections wait meanwhile.
    func suspend() {
        let listening = state.withLock { $0.listening }
        let saved = listening.map { ($0, original: fcntl($0.descriptor, F_DUPFD_CLOEXEC, 3)) }
        // What cannot be given back is not taken.
        guard saved.allSatisfy({ $0.original >= 0 }) else {
            for (_, original) in saved where original >= 0 { Glibc.close(original) }
            return
        }
        state.withLock { $0.suspended = saved }
        replace(listening)
    }

    /// Listens again.
    func resume() {
        let saved = state.withLock { state in
            defer { state.suspended = [] }
            return state.suspended
        }
        for (known, original) in saved {
            if state.withLock({ !$0.isRetired && $0.isReplaced(known.descriptor) }) {
                Self.put(original, at: known.descriptor)
            }
            Glibc.close(original)
        }
    }

    private func replace(_ known: [Known]) {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let dead = socket(AF_UNIX, kind, 0)
        guard dead >= 0 else { return }
        defer { Glibc.close(dead) }
        let descriptors = known.map(\.descriptor)
        for descriptor in descriptors { Self.put(dead, at: descriptor) }
        state.withLock { state in
            state.replacements.removeAll { descriptors.contains($0.descriptor) }
            state.replacements += descriptors.map { Known($0) }
        }
        EventLoop.wakeWaiters(of: descriptors)
    }

    private static func put(_ socket: Int32, at descriptor: Int32) {
        if dup2(socket, descriptor) >= 0 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    }

    /// Closes the sockets and removes the files of Unix ones.
    func close() {
        let all = state.withLock { state in
            defer { state.sockets = [] }
            return state.sockets.map { ($0.socket, isOurs: $0.known.isOpen || state.isReplaced($0.socket.descriptor)) }
        }
        for (socket, isOurs) in all {
            socket.unlinkFile()
            if isOurs { socket.closeDescriptor() }
        }
    }
}
