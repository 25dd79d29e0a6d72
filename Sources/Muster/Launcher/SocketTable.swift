// SPDX-License-Identifier: Apache-2.0

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
        } else {
            socket = try ListeningSocket(address, setting: setting, backlog: backlog)
        }
        sockets.withLock { $0.append((name, socket)) }
        return socket
    }

    var plan: [SupervisorPlan.Socket] {
        sockets.withLock { $0.map { SupervisorPlan.Socket(name: $0.name, descriptor: $0.socket.descriptor) } }
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
