// SPDX-License-Identifier: Apache-2.0

import MusterHTTP
import MusterHealth

/// The part `tls_server_config` of a web config file, with the contents of the files that it names.
struct TLSSettings: Sendable {
    /// Something in PEM form, and where it came from.
    struct Material: Sendable {
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
}

extension WebConfig {
    /// What connections are encrypted with; `nil` for no TLS.
    func tlsCredentials() throws(WebConfigError) -> TLSCredentials? {
        guard let tls else { return nil }
        do {
            return try TLSCredentials(
                TLSConfiguration(
                    certificate: tls.certificate.bytes, key: tls.key.bytes, authorities: tls.authorities?.bytes,
                    clientAuthentication: tls.clientAuthentication, allowedNames: tls.allowedNames,
                    priorities: tls.priorities))
        } catch {
            let (line, reason) = Self.explain(error, tls)
            throw WebConfigError(file: file, line: line, reason: "tls_server_config: \(reason)")
        }
    }

    private static func explain(_ error: TLSError, _ tls: TLSSettings) -> (line: Int?, reason: String) {
        let certificate = tls.certificate
        let key = tls.key
        return switch error {
        case .noLibrary(let reason): (nil, "needs GnuTLS (Debian: libgnutls30), which cannot be loaded: \(reason)")
        case .outOfMemory: (nil, "out of memory")
        case .noCertificate: (certificate.line, "\(certificate.origin) contains no PEM certificate")
        case .noKey: (key.line, "\(key.origin) contains no PEM private key")
        case .encryptedKey: (key.line, "\(key.origin) is encrypted; use a key without a password")
        case .keyMismatch: (key.line, "\(key.origin) does not match the certificate in \(certificate.origin)")
        case .rejected(let reason):
            (certificate.line, "GnuTLS rejects \(certificate.origin) and \(key.origin): \(reason)")
        case .noAuthorities:
            (tls.authorities?.line, "\(tls.authorities?.origin ?? "client_ca") contains no PEM certificate")
        case .unsupportedPriorities(let reason):
            (nil, "GnuTLS does not support these versions, cipher suites and curves: \(reason)")
        }
    }
}

extension CertificateValidity {
    /// What is wrong at an instant (in seconds since 1970), as the end of a sentence; `nil` while it is valid.
    func problem(at now: Int64) -> String? {
        if now < start { return "is not valid before \(HealthReport.timestamp(Double(start)))" }
        return now > end ? "expired at \(HealthReport.timestamp(Double(end)))" : nil
    }
}

extension ClientCertificate {
    /// Why the client is refused, for the client.
    var refusal: String {
        switch self {
        case .missing: "a client certificate is required\n"
        case .good: ""
        case .bad(let reason): "client certificate rejected: \(reason)\n"
        }
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

/// The versions, ciphers and groups of a web config file, said in GnuTLS' words (a "priority string").
struct TLSPriorities {
    /// Why there is no such string.
    struct Problem: Error {
        var reason: String
    }

    var minimum = TLSVersion.tls12
    var maximum = TLSVersion.tls13
    /// In the order of preference; empty for GnuTLS' choice.
    var suites: [CipherSuite] = []
    /// In the order of preference; empty for GnuTLS' choice.
    var curves: [TLSCurve] = []
    var prefersServerOrder = true

    /// The priority string.
    ///
    /// GnuTLS takes key exchanges and ciphers each by itself and combines them freely, so a list of suites that is not
    /// all combinations of its parts cannot be said.
    func text() throws(Problem) -> String {
        var versions = TLSVersion.allCases.filter { minimum <= $0 && $0 <= maximum }
        var parts = ["NORMAL", "-VERS-ALL"]
        var tail: [String] = []
        // Go lets no list choose the suites of TLS 1.3; where there is nothing else, none is asked.
        if !suites.isEmpty, minimum < .tls13 {
            try checkCombinations()
            let exchanges = suites.compactMap(\.exchange).uniqued()
            if exchanges.isEmpty { versions.removeAll { $0 < .tls13 } }
            if !suites.contains(where: \.isAuthenticated) { versions.removeAll { $0 == .tls13 } }
            guard !versions.isEmpty else {
                throw Problem(
                    reason:
                        "none of the suites works with \(minimum.rawValue) to \(maximum.rawValue); add one that does")
            }
            tail += ["-CIPHER-ALL"] + suites.map(\.cipher).uniqued().map { "+" + $0 }
            tail += ["-MAC-ALL"] + suites.map(\.authentication).uniqued().map { "+" + $0 }
            tail += exchanges.isEmpty ? [] : ["-KX-ALL"] + exchanges.map { "+" + $0 }
        }
        parts += versions.reversed().map { "+" + $0.priority } + tail
        if !curves.isEmpty { parts += ["-GROUP-ALL"] + curves.uniqued().map { "+" + $0.priority } }
        if prefersServerOrder { parts.append("%SERVER_PRECEDENCE") }
        return parts.joined(separator: ":")
    }

    private func checkCombinations() throws(Problem) {
        let exchanges = Set(suites.compactMap(\.exchange))
        let ciphers = Set(suites.map(\.cipher))
        for suite in CipherSuite.allCases {
            guard let exchange = suite.exchange, exchanges.contains(exchange), ciphers.contains(suite.cipher) else {
                continue
            }
            guard suites.contains(suite) else {
                throw Problem(
                    reason: "GnuTLS would then also use \(suite.rawValue); add it, or remove the suites that "
                        + "share its parts")
            }
        }
    }
}

extension Array where Element: Hashable {
    /// Each element once, where it comes first.
    fileprivate func uniqued() -> [Element] {
        var seen: Set<Element> = []
        return filter { seen.insert($0).inserted }
    }
}
