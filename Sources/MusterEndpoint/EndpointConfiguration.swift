// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// Where the endpoint listens and what it allows.
public struct EndpointConfiguration: Sendable {
    /// Where to listen.
    public var address: EndpointAddress = .tcp(host: "127.0.0.1", port: 9917)
    /// What the address' setting is called in messages, so that they name what to change.
    public var addressSetting = "the endpoint's address"
    /// How many connections there may be at once. When there are as many, the one that has been silent for longest
    /// makes room, so that idle clients cannot keep a probe out.
    public var connectionLimit = 256
    /// How many connections one IP address may have at once; 0 for no such limit. Unix sockets are exempt.
    public var perAddressConnectionLimit = 64
    /// How long a connection may take to send a whole request, from its start or the response before.
    public var idleTimeout: Duration = .seconds(90)
    /// How long an answer may take, until the client has read it.
    public var responseTimeout: Duration = .seconds(30)
    /// The memory of one connection in bytes. The request's line and headers have to fit in.
    public var requestSizeLimit = 16 << 10
    /// How many scrapes may be under way at once, those included whose response the client has not read yet. More
    /// are refused with 503.
    public var concurrentScrapeLimit = 40
    /// How hard scrapes are compressed when the client asks for it: 1 (fastest) to 9, or 0 for never.
    public var compressionLevel = 2
    /// A web config file in exporter-toolkit's format: TLS, client certificates, users, headers and a rate limit;
    /// `nil` for none. It is read again when it changes.
    public var webConfigFile: String?
    /// What the web config file's setting is called in messages, so that they name what to change.
    public var webConfigFileSetting = "the endpoint's webConfigFile"
    /// Whether `/livez`, `/readyz`, `/startupz` and `/healthz` are answered for everybody, whatever the web config
    /// file demands of clients. Encryption stays.
    public var opensProbes = false
    /// Compares passwords with hashes; tests put in their own.
    var passwordCheck: @Sendable (_ password: [UInt8], _ hash: BcryptHash) -> Bool = Bcrypt.matches

    /// Creates the default configuration.
    ///
    /// - Parameter address: Where to listen.
    public init(address: EndpointAddress = .tcp(host: "127.0.0.1", port: 9917)) {
        self.address = address
    }

    /// Says what makes no sense.
    func validate() throws(EndpointError) {
        switch address {
        case .unix(let path):
            if let problem = EndpointAddress.problem(withPath: path) {
                throw .invalidAddress("unix:\(path)", reason: problem)
            }
        case .tcp(let host, _):
            if host.utf8.contains(0) { throw .invalidAddress("\(address)", reason: "the host contains a NUL byte") }
        case .descriptor, .systemd: break
        }
        try check("connectionLimit", connectionLimit, 2...65_536)
        try check("perAddressConnectionLimit", perAddressConnectionLimit, 0...65_536)
        try check("requestSizeLimit", requestSizeLimit, 2048...1 << 20)
        try check("compressionLevel", compressionLevel, 0...9)
        // A scrape that is not read occupies its connection, so they must not be able to take all of them.
        try check("concurrentScrapeLimit", concurrentScrapeLimit, 1...connectionLimit - 1)
        try check("idleTimeout", idleTimeout)
        try check("responseTimeout", responseTimeout)
    }

    private func check(_ setting: String, _ value: Int, _ range: ClosedRange<Int>) throws(EndpointError) {
        guard range.contains(value) else {
            throw .invalidSetting(setting, reason: "is \(value); it can be \(range.lowerBound) to \(range.upperBound)")
        }
    }

    private func check(_ setting: String, _ value: Duration) throws(EndpointError) {
        guard value > .zero, value <= .seconds(86_400) else {
            throw .invalidSetting(setting, reason: "is \(value); it must be longer than zero and at most a day")
        }
    }
}
