// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterTestSupport
import Testing

@testable import Muster

@Suite("The listening sockets of a program")
struct SocketTableTests {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
    }

    private func listen(_ name: String, in table: SocketTable) throws -> ListeningSocket {
        try table.listen(name, on: .unix(path: folder.path(name)), setting: name, backlog: 8)
    }

    private func accepts(_ socket: ListeningSocket) -> Bool { (try? TestClient(socket.address)) != nil }

    @Test(
        "One that is suspended listens again, and one that is retired, meanwhile or later, does not and is closed",
        arguments: [false, true])
    func life(isSuspended: Bool) throws {
        let table = SocketTable()
        let socket = try listen("http", in: table)
        #expect(accepts(socket))
        table.suspend()
        if !isSuspended {
            table.resume()
            #expect(accepts(socket))
        }
        table.retire()
        table.resume()
        #expect(!accepts(socket))
        let last = try FileIdentity(of: socket.descriptor)
        table.close()
        #expect((try? FileIdentity(of: socket.descriptor)) != last)
    }

    @Test("A file that has got the number of a socket which a service has closed is left alone")
    func closedByService() throws {
        let table = SocketTable()
        let (kept, closed) = (try listen("kept", in: table), try listen("closed", in: table))
        let pair = try SocketPair()
        try #require(dup2(pair.near.rawValue, closed.descriptor) >= 0)
        let file = try FileIdentity(of: closed.descriptor)
        for step in [table.suspend, table.resume, table.retire, table.close] {
            step()
            #expect((try? FileIdentity(of: closed.descriptor)) == file)
        }
        #expect(!accepts(kept))
        close(closed.descriptor)
    }
}
