// SPDX-License-Identifier: Apache-2.0

/// What a web config file says: exporter-toolkit's format, which Prometheus and its exporters share.
///
/// It is checked as a whole when it is loaded, the certificates and keys that it names included.
package struct WebConfig: Sendable {
    /// The file's path, as it was given.
    package let file: String
    let tls: TLSSettings?
    /// The headers that each answer has, in the file's order.
    let headers: [ResponseHeader]
    /// The hashes of the users' passwords.
    let users: [String: BcryptHash]
    let rateLimit: RateLimit?
    /// Whether HTTP/2 is asked for by name, which is not served.
    let asksForHTTP2: Bool

    /// Loads and checks a file.
    ///
    /// - Parameter file: Its path. Paths in it are relative to its folder.
    /// - Returns: What it says.
    /// - Throws: ``WebConfigError``, which names the line and what to do. Nothing is left open by it.
    package static func load(file: String) throws(WebConfigError) -> WebConfig {
        let config = try WebConfigReader.read(file: file, with: FileContent.read)
        if let tls = config.tls { _ = try TLSMaterial(tls, file: file) }
        return config
    }

    /// What it demands and offers, in one line for people.
    package var summary: String {
        var parts: [String] = []
        if let tls {
            let versions = [tls.minimum.rawValue, tls.maximum.rawValue]
            parts.append(versions[0] == versions[1] ? versions[0] : versions.joined(separator: " to "))
            parts.append("client certificates: \(tls.clientAuthentication.rawValue)")
        } else {
            parts.append("no TLS")
        }
        parts.append("basic auth: \(users.isEmpty ? "none" : "\(users.count) \(users.count == 1 ? "user" : "users")")")
        if let rateLimit { parts.append("rate limit: one request per \(rateLimit.interval), burst \(rateLimit.burst)") }
        if !headers.isEmpty { parts.append("headers: \(headers.map(\.name).joined(separator: ", "))") }
        return parts.joined(separator: "; ")
    }
}

/// Why a web config file cannot be used.
package struct WebConfigError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file's path, as it was given.
    package var file: String
    /// The line, counted from 1; `nil` when it is about the file as a whole.
    package var line: Int?
    /// What is wrong and what to do. It never contains a key, a password or a hash.
    package var reason: String

    /// File, line and reason, as compilers write them.
    package var description: String {
        line.map { "\(file):\($0): \(reason)" } ?? "\(file): \(reason)"
    }
}

/// The part `tls_server_config` of a web config file, with the contents of the files that it names.
struct TLSSettings: Hashable {
    /// Something in PEM form, and where it came from.
    struct Material: Hashable {
        /// The key, and the file if it names one: `cert_file ('/etc/tls.crt')`.
        var origin: String
        var bytes: [UInt8]
        /// The line of the web config file.
        var line: Int
    }

    var certificate: Material
    var key: Material
    /// Who may sign clients' certificates.
    var authorities: Material?
    var clientAuthentication = ClientAuthentication.none
    /// The names of which a client's certificate has to have one; `nil` for no such demand.
    var allowedNames: [String]?
    var minimum = TLSVersion.tls12
    var maximum = TLSVersion.tls13
    /// For GnuTLS.
    var priorities: String

    /// What decides who gets in, as opposed to what the server shows of itself.
    var admission: Admission {
        Admission(
            authorities: authorities?.bytes, clientAuthentication: clientAuthentication, allowedNames: allowedNames)
    }

    struct Admission: Hashable {
        var authorities: [UInt8]?
        var clientAuthentication: ClientAuthentication
        var allowedNames: [String]?
    }
}

/// A version of TLS, by exporter-toolkit's name for it.
enum TLSVersion: String, CaseIterable, Comparable {
    case tls10 = "TLS10"
    case tls11 = "TLS11"
    case tls12 = "TLS12"
    case tls13 = "TLS13"

    /// GnuTLS' name of it.
    var priority: String {
        switch self {
        case .tls10: "VERS-TLS1.0"
        case .tls11: "VERS-TLS1.1"
        case .tls12: "VERS-TLS1.2"
        case .tls13: "VERS-TLS1.3"
        }
    }

    static func < (left: TLSVersion, right: TLSVersion) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// A group for the key exchange, by Go's name for it.
enum TLSCurve: String, CaseIterable {
    case p256 = "CurveP256"
    case p384 = "CurveP384"
    case p521 = "CurveP521"
    case x25519 = "X25519"

    /// GnuTLS' name of it.
    var priority: String {
        switch self {
        case .p256: "GROUP-SECP256R1"
        case .p384: "GROUP-SECP384R1"
        case .p521: "GROUP-SECP521R1"
        case .x25519: "GROUP-X25519"
        }
    }
}

/// A cipher suite, by Go's name for it: those that Go holds secure, which are what exporter-toolkit takes.
enum CipherSuite: String, CaseIterable {
    case aes128 = "TLS_AES_128_GCM_SHA256"
    case aes256 = "TLS_AES_256_GCM_SHA384"
    case chacha20 = "TLS_CHACHA20_POLY1305_SHA256"
    case ecdsaAES128 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    case ecdsaAES256 = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    case ecdsaChaCha20 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
    case ecdsaAES128CBC = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"
    case ecdsaAES256CBC = "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"
    case rsaAES128 = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    case rsaAES256 = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
    case rsaChaCha20 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
    case rsaAES128CBC = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
    case rsaAES256CBC = "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"

    /// GnuTLS' name of the key exchange; `nil` for a suite of TLS 1.3, which has none.
    var exchange: String? {
        switch self {
        case .aes128, .aes256, .chacha20: nil
        case .ecdsaAES128, .ecdsaAES256, .ecdsaChaCha20, .ecdsaAES128CBC, .ecdsaAES256CBC: "ECDHE-ECDSA"
        case .rsaAES128, .rsaAES256, .rsaChaCha20, .rsaAES128CBC, .rsaAES256CBC: "ECDHE-RSA"
        }
    }

    /// GnuTLS' name of the cipher.
    var cipher: String {
        switch self {
        case .aes128, .ecdsaAES128, .rsaAES128: "AES-128-GCM"
        case .aes256, .ecdsaAES256, .rsaAES256: "AES-256-GCM"
        case .chacha20, .ecdsaChaCha20, .rsaChaCha20: "CHACHA20-POLY1305"
        case .ecdsaAES128CBC, .rsaAES128CBC: "AES-128-CBC"
        case .ecdsaAES256CBC, .rsaAES256CBC: "AES-256-CBC"
        }
    }

    /// GnuTLS' name of what authenticates the records.
    var authentication: String { isAuthenticated ? "AEAD" : "SHA1" }

    /// Whether the cipher authenticates by itself, as those of TLS 1.3 have to.
    var isAuthenticated: Bool { !cipher.hasSuffix("CBC") }
}

/// What is asked of a client's certificate. The names are those of Go's crypto/tls, which exporter-toolkit uses.
enum ClientAuthentication: String, CaseIterable, Hashable {
    /// No certificate is asked for.
    case none = "NoClientCert"
    /// One is asked for; none, or any, will do.
    case request = "RequestClientCert"
    /// There has to be one; any will do.
    case requireAny = "RequireAnyClientCert"
    /// There need not be one; one that is there has to be good.
    case verifyIfGiven = "VerifyClientCertIfGiven"
    /// There has to be a good one.
    case requireAndVerify = "RequireAndVerifyClientCert"

    /// Whether a client has to have a certificate.
    var isRequired: Bool { self == .requireAny || self == .requireAndVerify }
    /// Whether a certificate is held against the authorities.
    var isVerified: Bool { self == .verifyIfGiven || self == .requireAndVerify }
}

/// How many requests are answered: one for each interval, and some at once after a pause.
struct RateLimit: Hashable {
    /// The time in which one more request may come.
    var interval: Duration
    /// How many may come at once; at least 1.
    var burst: Int
}

/// A header of an answer.
struct ResponseHeader: Hashable, Sendable {
    var name: String
    var value: String
}
