// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import MusterPlatform

@Suite("Sockets of systemd")
struct SocketActivationTests {
    private func activation(_ variables: [String: String]) -> SocketActivation {
        SocketActivation(environment: { variables[$0] }, process: 42)
    }

    @Test("Sockets have the names that they were given, in their order")
    func names() {
        let given = activation(["LISTEN_PID": "42", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "web:admin:web"])
        #expect(given.sockets.map(\.name) == ["web", "admin", "web"])
        #expect(given.sockets.map(\.descriptor) == [3, 4, 5])
        #expect(given.names == ["web", "admin"])
        let unnamed = activation(["LISTEN_PID": "42", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web"])
        #expect(unnamed.sockets.map(\.name) == ["web", "unknown"])
        #expect(activation(["LISTEN_PID": "42", "LISTEN_FDS": "1"]).names == ["unknown"])
    }

    @Test(
        "Another process' sockets, or none, are none",
        arguments: [
            [:], ["LISTEN_FDS": "1"], ["LISTEN_PID": "42"], ["LISTEN_PID": "43", "LISTEN_FDS": "1"],
            ["LISTEN_PID": "42", "LISTEN_FDS": "0"], ["LISTEN_PID": "42", "LISTEN_FDS": "-1"],
            ["LISTEN_PID": "42", "LISTEN_FDS": "x"], ["LISTEN_PID": "42", "LISTEN_FDS": "2147483647"],
            ["LISTEN_PID": "42", "LISTEN_FDS": "99999999999"], ["LISTEN_PID": "", "LISTEN_FDS": "1"],
        ])
    func none(variables: [String: String]) {
        #expect(activation(variables).sockets.isEmpty)
    }

    @Test("A socket is listened at by its name, and stays with its owner")
    func listens() throws {
        let owner = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "x")
        defer { owner.closeDescriptor() }
        // As if it had been handed over with that number.
        let count = owner.descriptor - 2
        let names = (0..<count).map { "n\($0)" }.joined(separator: ":")
        let given = activation(["LISTEN_PID": "42", "LISTEN_FDS": "\(count)", "LISTEN_FDNAMES": names])
        let socket = try ListeningSocket(.systemd(name: "n\(count - 1)"), setting: "x", activation: given)
        #expect(socket.address == owner.address)
        #expect(socket.descriptor != owner.descriptor)
        socket.closeDescriptor()
        #expect(ListeningSocket.isListening(owner.descriptor))
    }

    @Test("A name that was not given is told with those that were")
    func unknown() {
        let given = activation(["LISTEN_PID": "42", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "web:admin:web"])
        func refusal(of name: String, _ given: SocketActivation) -> String {
            let error = #expect(throws: ListenError.self) {
                try ListeningSocket(.systemd(name: name), setting: "endpoint.address", activation: given)
            }
            return error?.description ?? ""
        }
        let text = refusal(of: "metrics", given)
        #expect(text.contains("cannot listen at systemd:metrics: the sockets handed over are named 'web', 'admin'"))
        #expect(text.contains("set FileDescriptorName=metrics in the socket unit, or set endpoint.address"))
        #expect(refusal(of: "metrics", activation([:])).contains("systemd has handed over no sockets"))
        #expect(refusal(of: "web", given).contains("2 sockets of that name"))
        #expect(refusal(of: "web", given).contains("fd:3, fd:5"))
    }

    @Test("Addresses of systemd's sockets are read as people write them")
    func addresses() throws {
        #expect(try ListenAddress(parsing: "systemd:web") == .systemd(name: "web"))
        #expect(ListenAddress.systemd(name: "web").description == "systemd:web")
        #expect(ListenAddress.systemd(name: "web").url == nil)
        for text in [
            "systemd:", "systemd:a:b", "systemd:ö", "systemd:\n", "systemd:" + String(repeating: "x", count: 256),
        ] {
            let error = #expect(throws: ListenError.self) { try ListenAddress(parsing: text) }
            #expect(error?.description.contains("FileDescriptorName") == true)
        }
    }
}
