// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import MusterPlatform

@Suite("Listening sockets")
struct ListeningSocketTests {
    @Test("An inherited socket serves one purpose at a time, which may be taken up again")
    func claims() throws {
        let original = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "test")
        defer { original.closeDescriptor() }
        let address = ListenAddress.descriptor(original.descriptor)
        let first = try ListeningSocket(address, setting: "--http")
        let again = try ListeningSocket(address, setting: "--http")
        again.closeDescriptor()
        let restarted = try ListeningSocket(address, setting: "--http")
        let error = #expect(throws: ListenError.self) { try ListeningSocket(address, setting: "--endpoint") }
        #expect(error == .taken(address, by: "--http", setting: "--endpoint"))
        #expect(error?.description.contains("--http has named the same socket; set --endpoint") == true)
        first.closeDescriptor()
        restarted.closeDescriptor()
        let other = try ListeningSocket(address, setting: "--endpoint")
        other.closeDescriptor()
    }
}
