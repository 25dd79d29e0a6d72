// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("Endpoint: sockets, starting and stopping")
final class EndpointSocketTests {
    private let directory: String

    init() throws {
        var template = Array("/tmp/muster-endpoint-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError("mkdtemp") }
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        for name in ["s.sock", "file"] { unlink("\(directory)/\(name)") }
        rmdir(directory)
    }

    private var path: String { "\(directory)/s.sock" }

    private func refusal(of address: ListenAddress) -> EndpointError? {
        #expect(throws: EndpointError.self) {
            _ = try EndpointBench(address: address) { $0.addressSetting = "endpoint.address" }
        }
    }

    // MARK: TCP

    @Test("Port 0 becomes a real port, told as address and URL")
    func anyPort() throws {
        let bench = try EndpointBench()
        guard case .tcp("127.0.0.1", let port) = bench.endpoint.address else {
            Issue.record("\(String(describing: bench.endpoint.address))")
            return
        }
        #expect(port != 0)
        #expect(bench.endpoint.url == "http://127.0.0.1:\(port)")
        bench.endpoint.stop()
        #expect(bench.endpoint.address == nil)
        #expect(bench.endpoint.url == nil)
    }

    @Test("IPv6 works where the machine has it")
    func version6() throws {
        let probe = socket(AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
        guard probe >= 0 else { return }
        close(probe)
        let bench = try EndpointBench(address: .tcp(host: "::1", port: 0)) { $0.perAddressConnectionLimit = 1 }
        #expect(try bench.get("/livez").text == "ok")
        #expect(bench.endpoint.url?.hasPrefix("http://[::1]:") == true)
    }

    @Test("A name is looked up, and every address means both versions of IP")
    func names() throws {
        let named = try EndpointBench(address: .tcp(host: "localhost", port: 0))
        #expect(named.endpoint.url?.hasPrefix("http://localhost:") == true)
        let bench = try EndpointBench(address: .tcp(host: "", port: 0))
        guard case .tcp(_, let port) = bench.endpoint.address else { return }
        let client = try TestClient(.tcp(host: "127.0.0.1", port: port))
        #expect(try client.get("/livez").text == "ok")
    }

    @Test("A port in use is told with the address, the setting and what to do")
    func inUse() throws {
        let bench = try EndpointBench()
        let error = try #require(refusal(of: bench.address))
        #expect(error == .cannotListen(.addressInUse(bench.address, setting: "endpoint.address")))
        let text = error.description
        #expect(text.contains("the endpoint cannot listen at \(bench.address): the port is in use"))
        #expect(text.contains("set endpoint.address to another port"))
        #expect(try bench.get("/livez").text == "ok")
    }

    @Test(
        "Addresses that the machine does not have are told as such",
        arguments: [
            (ListenAddress.tcp(host: "192.0.2.1", port: 0), "no network interface of this machine has that address"),
            (.tcp(host: "no-such-host.invalid", port: 0), "set endpoint.address to an address of this machine"),
            (.tcp(host: "a\u{0}b", port: 0), "NUL byte"), (.descriptor(1_000_000), "not a listening stream socket"),
            (.descriptor(0), "not a listening stream socket"), (.unix(path: ""), "followed by a path"),
            (.unix(path: "/nowhere/at/all.sock"), "create the directory first"),
        ])
    func refused(address: ListenAddress, text: String) throws {
        let error = try #require(refusal(of: address))
        #expect(error.description.contains(text), "\(error)")
    }

    // MARK: Unix sockets

    @Test("A Unix socket serves, and its file goes with it")
    func unixSocket() throws {
        let bench = try EndpointBench(address: .unix(path: path)) { $0.perAddressConnectionLimit = 1 }
        #expect(bench.endpoint.url == "unix:\(path)")
        let clients = try (0..<3).map { _ in try bench.client() }
        for client in clients { #expect(try client.get("/livez").text == "ok") }
        bench.endpoint.stop()
        #expect(access(path, F_OK) != 0)
    }

    @Test("A socket file that a dead process has left is replaced")
    func stale() throws {
        let left = try ListeningSocket(.unix(path: path), setting: "x")
        left.closeDescriptor()
        #expect(access(path, F_OK) == 0)
        let bench = try EndpointBench(address: .unix(path: path))
        #expect(try bench.get("/livez").text == "ok")
    }

    @Test("A socket that somebody listens at is refused and left alone")
    func live() throws {
        let bench = try EndpointBench(address: .unix(path: path))
        let error = try #require(refusal(of: .unix(path: path)))
        #expect(error == .cannotListen(.addressInUse(.unix(path: path), setting: "endpoint.address")))
        #expect(error.description.contains("set endpoint.address to another path"))
        #expect(try bench.get("/livez").text == "ok")
    }

    @Test("A file that is no socket is refused and left alone")
    func noSocket() throws {
        let file = "\(directory)/file"
        close(creat(file, 0o600))
        let error = try #require(refusal(of: .unix(path: file)))
        #expect(error == .cannotListen(.notASocket(path: file, setting: "endpoint.address")))
        #expect(access(file, F_OK) == 0)
    }

    @Test("A successor's socket file is not removed")
    func successor() throws {
        let first = try EndpointBench(address: .unix(path: path))
        unlink(path)
        let second = try EndpointBench(address: .unix(path: path))
        first.endpoint.stop()
        #expect(try second.get("/livez").text == "ok")
    }

    // MARK: Inherited sockets

    @Test("An inherited socket is used and stays with its owner")
    func inherited() throws {
        let owner = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0), setting: "x")
        defer { owner.closeDescriptor() }
        do {
            let bench = try EndpointBench(address: .descriptor(owner.descriptor))
            #expect(bench.endpoint.address == owner.address)
            #expect(try bench.get("/livez").text == "ok")
            bench.endpoint.stop()
        }
        #expect(ListeningSocket.isListening(owner.descriptor))
        // A connection that comes between two endpoints waits for the second one.
        let client = try TestClient(owner.address)
        client.request("GET", "/livez")
        let bench = try EndpointBench(address: .descriptor(owner.descriptor))
        #expect(try client.response().text == "ok")
        bench.endpoint.stop()
    }

    // MARK: Starting and stopping

    @Test("Stopping twice is once; starting twice is an error; starting again works")
    func restart() throws {
        let bench = try EndpointBench()
        let error = #expect(throws: EndpointError.self) { try bench.endpoint.start() }
        #expect(error == .alreadyStarted(bench.address))
        #expect(try bench.get("/livez").text == "ok")
        bench.endpoint.stop()
        bench.endpoint.stop()
        #expect(throws: TestClient.Failure.self) { try bench.client() }
        try bench.endpoint.start()
        let address = try #require(bench.endpoint.address)
        #expect(try TestClient(address).get("/livez").text == "ok")
        bench.endpoint.stop()
    }

    @Test("The port is free when stop returns, whatever the clients do")
    func released() throws {
        let bench = try EndpointBench()
        let client = try bench.client()
        #expect(try client.get("/livez").text == "ok")
        bench.endpoint.stop()
        #expect(try client.rest() == "")
        let next = try EndpointBench(address: bench.address)
        #expect(try next.get("/livez").text == "ok")
    }

    @Test("Requests that wait for a check are told that it is over")
    func stopWhileSuspended() throws {
        let bench = try EndpointBench()
        let door = Door()
        try bench.health.register(.asynchronous("db", .ready, timeout: .seconds(600)) { await door.pass() })
        let clients = try (0..<3).map { _ in try bench.client() }
        for client in clients { client.request("GET", "/readyz") }
        #expect(door.arrival.wait())
        // All three wait when this has been answered, for it was sent last.
        #expect(try bench.get("/livez").text == "ok")
        bench.endpoint.stop()
        for client in clients {
            let response = try client.response()
            #expect(response.status == 503)
            #expect(response.text == "the endpoint is stopping\n")
        }
        door.open()
    }

    @Test("Scrapes on their way do not hold up the stop")
    func stopWhileSending() throws {
        let bench = try EndpointBench(padding: 30_000_000)
        let client = try bench.client(receiveBuffer: 4096)
        client.request("GET", "/metrics")
        var byte: UInt8 = 0
        #expect(recv(client.descriptor, &byte, 1, Int32(MSG_PEEK)) == 1)
        bench.endpoint.stop()
        #expect(throws: TestClient.Failure.self) { try client.response() }
    }

    @Test("A check may stop the endpoint that asks it")
    func stopFromInside() throws {
        let bench = try EndpointBench()
        let endpoint = bench.endpoint
        try bench.health.register(
            .probe("fatal", .live) {
                endpoint.stop()
                return .pass
            })
        #expect(try bench.get("/livez").text == "ok")
        endpoint.stop()
        #expect(throws: TestClient.Failure.self) { try bench.client() }
    }

    @Test("An endpoint that is let go of stops")
    func released2() throws {
        let address: ListenAddress
        let client: TestClient
        do {
            let health = HealthRegistry(runner: { _, _ in }, logger: RecordedLog().logger)
            let endpoint = Endpoint(
                configuration: EndpointConfiguration(address: .tcp(host: "127.0.0.1", port: 0)),
                metrics: TestRenderer(), health: health, logger: RecordedLog().logger)
            try endpoint.start()
            address = try #require(endpoint.address)
            client = try TestClient(address)
            #expect(try client.get("/livez").text == "ok")
        }
        #expect(try client.rest() == "")
    }

    @Test("Stops from several threads all wait for the one end")
    func concurrentStops() throws {
        let bench = try EndpointBench()
        let endpoint = bench.endpoint
        let address = bench.address
        let done = Signal()
        let free = Box(0)
        for _ in 0..<4 {
            try NativeThread.start(name: "stopper") {
                endpoint.stop()
                if (try? TestClient(address)) == nil { free.change { $0 += 1 } }
                done.send()
            }
        }
        for _ in 0..<4 { #expect(done.wait()) }
        #expect(free.value == 4)
    }
}
