// SPDX-License-Identifier: Apache-2.0

import MusterPlatform
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("Endpoint addresses")
struct EndpointAddressTests {
    @Test(
        "Addresses are read as people write them",
        arguments: [
            ("127.0.0.1:9917", ListenAddress.tcp(host: "127.0.0.1", port: 9917)),
            ("[::1]:0", .tcp(host: "::1", port: 0)), ("[fe80::1%lo]:80", .tcp(host: "fe80::1%lo", port: 80)),
            (":9917", .tcp(host: "", port: 9917)), ("*:9917", .tcp(host: "", port: 9917)),
            ("localhost:80", .tcp(host: "localhost", port: 80)), ("0.0.0.0:65535", .tcp(host: "0.0.0.0", port: 65535)),
            ("unix:/run/x.sock", .unix(path: "/run/x.sock")), ("unix:relative:odd", .unix(path: "relative:odd")),
            ("fd:3", .descriptor(3)),
        ])
    func reads(text: String, address: ListenAddress) throws {
        #expect(try ListenAddress(parsing: text) == address)
        #expect(try ListenAddress(parsing: address.description) == address)
    }

    @Test(
        "What is no address is refused with the reason",
        arguments: [
            ("", "the port is missing"), ("127.0.0.1", "as in '127.0.0.1:9917'"), ("127.0.0.1:", "'' is not a port"),
            ("127.0.0.1:65536", "0 to 65535"), ("127.0.0.1:-1", "'-1' is not a port"),
            ("127.0.0.1:+80", "'+80' is not a port"),
            ("127.0.0.1:http", "'http' is not a port"), ("::1:80", "must be in brackets"),
            ("[::1:80", "brackets must enclose"),
            ("[]:80", "brackets must enclose"), ("[1.2.3.4]:80", "brackets must enclose"),
            ("[[::1]]:80", "brackets must enclose"),
            ("a b:80", "is not a host name"), ("http://x:80", "must be in brackets"), ("a/b:80", "is not a host name"),
            ("unix:", "followed by a path"), ("fd:x", "number of a listening socket"),
            ("fd:-1", "number of a listening socket"),
            ("unix:/" + String(repeating: "x", count: 107), "has 108 bytes"), ("hö:80", "is not a host name"),
        ])
    func refuses(text: String, reason: String) {
        let error = #expect(throws: ListenError.self) { try ListenAddress(parsing: text) }
        #expect(error?.description.contains("'\(text)' is not an address to listen at") == true)
        #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
    }

    @Test(
        "The URL is one that a client on the machine can use",
        arguments: [
            (ListenAddress.tcp(host: "127.0.0.1", port: 80), "http://127.0.0.1:80"),
            (.tcp(host: "::1", port: 80), "http://[::1]:80"), (.tcp(host: "", port: 80), "http://127.0.0.1:80"),
            (.tcp(host: "0.0.0.0", port: 80), "http://127.0.0.1:80"), (.tcp(host: "::", port: 80), "http://[::1]:80"),
            (.unix(path: "/x"), "unix:/x"), (.tcp(host: "x", port: 0), nil), (.descriptor(3), nil),
        ] as [(ListenAddress, String?)])
    func url(address: ListenAddress, url: String?) {
        #expect(address.url == url)
    }

    @Test("Settings out of range are refused by name")
    func configuration() {
        let spoilt: [(String, (inout EndpointConfiguration) -> Void)] = [
            ("connectionLimit", { $0.connectionLimit = 1 }),
            ("perAddressConnectionLimit", { $0.perAddressConnectionLimit = -1 }),
            ("requestSizeLimit", { $0.requestSizeLimit = 100 }),
            ("compressionLevel", { $0.compressionLevel = 10 }),
            ("concurrentScrapeLimit", { $0.concurrentScrapeLimit = 256 }),
            ("idleTimeout", { $0.idleTimeout = .zero }),
            ("responseTimeout", { $0.responseTimeout = .seconds(100_000) }),
        ]
        #expect(throws: Never.self) { try EndpointConfiguration().validate() }
        for (setting, spoil) in spoilt {
            var configuration = EndpointConfiguration()
            spoil(&configuration)
            let error = #expect(throws: EndpointError.self) { try configuration.validate() }
            #expect(error?.description.hasPrefix("the endpoint's \(setting) is ") == true)
        }
    }
}
