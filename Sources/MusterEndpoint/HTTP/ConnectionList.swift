// SPDX-License-Identifier: Apache-2.0

/// Connections in the same phase, the one that entered it first at the head: the order of their deadlines, as all
/// get the same time.
final class ConnectionList {
    private(set) var head: ConnectionState?
    private unowned(unsafe) var tail: ConnectionState?

    /// Moves a connection here.
    func append(_ connection: ConnectionState, at now: Int64) {
        connection.leave()
        connection.since = now
        connection.list = self
        connection.previous = tail
        if let tail { tail.next = connection } else { head = connection }
        tail = connection
    }

    func remove(_ connection: ConnectionState) {
        let next = connection.next
        let previous = connection.previous
        if let previous { previous.next = next } else { head = next }
        if let next { next.previous = previous } else { tail = previous }
        connection.next = nil
        connection.previous = nil
        connection.list = nil
    }
}
