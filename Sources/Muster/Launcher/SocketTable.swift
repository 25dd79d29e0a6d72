// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterSupervision

/// The listening sockets of a program by name: opened here, or inherited from the supervisor.
final class SocketTable: Sendable {
    private let inherited: WorkerMarker?
    private let sockets = Locked<[(name: String, socket: ListeningSocket)]>([])

    init(inherited: WorkerMarker? = nil) {
        self.inherited = inherited
    }

    func listen(
        _ name: String, on address: ListenAddress, setting: String, backlog: Int32
    ) throws -> ListeningSocket {
        guard !name.isEmpty else { throw LaunchError.emptySocketName }
        if sockets.withLock({ $0.contains { $0.name == name } }) { throw LaunchError.socketNameTaken(name) }
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
        sockets.withLock { $0.append((name, socket)) }
        return socket
    }

    var plan: [SupervisorPlan.Socket] {
        sockets.withLock { $0.map { SupervisorPlan.Socket(name: $0.name, descriptor: $0.socket.descriptor) } }
    }

    /// Makes a worker stop listening, although its service may still use the descriptors: a socket that does not listen
    /// replaces them. With the last listening descriptor gone, new connections are refused instead of forgotten.
    func retire() {
        let dead = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard dead >= 0 else { return }
        defer { Glibc.close(dead) }
        let claimed = sockets.withLock { $0 }
        var listening = claimed.map(\.socket.descriptor)
        for unclaimed in inherited?.sockets ?? [] where !claimed.contains(where: { $0.name == unclaimed.name }) {
            listening.append(unclaimed.descriptor)
        }
        for descriptor in listening where dup2(dead, descriptor) >= 0 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    }

    /// Closes the sockets and removes the files of Unix ones.
    func close() {
        let all = sockets.withLock { sockets in
            defer { sockets = [] }
            return sockets
        }
        for (_, socket) in all {
            socket.unlinkFile()
            socket.closeDescriptor()
        }
    }
}
