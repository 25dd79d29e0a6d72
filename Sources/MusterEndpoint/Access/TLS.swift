// SPDX-License-Identifier: Apache-2.0

import CGnuTLS
import Glibc

/// Certificate, key, authorities and priorities as GnuTLS holds them: what each new session is given.
///
/// Belongs to the endpoint's thread, apart from its creation.
final class TLSMaterial {
    let settings: TLSSettings
    private let credentials: gnutls_certificate_credentials_t
    private let priorities: gnutls_priority_t

    /// Makes GnuTLS take them, which checks them.
    ///
    /// - Parameters:
    ///   - settings: What to take.
    ///   - file: The web config file, for errors.
    init(_ settings: TLSSettings, file: String) throws(WebConfigError) {
        func fail(_ line: Int?, _ reason: String) -> WebConfigError {
            WebConfigError(file: file, line: line, reason: "tls_server_config: \(reason)")
        }
        if let problem = cgnutls_load() {
            throw fail(nil, "needs GnuTLS (Debian: libgnutls30), which cannot be loaded: \(String(cString: problem))")
        }
        var credentials: gnutls_certificate_credentials_t?
        guard gnutls_certificate_allocate_credentials(&credentials) == 0, let credentials else {
            throw fail(nil, "out of memory")
        }
        var isComplete = false
        defer { if !isComplete { gnutls_certificate_free_credentials(credentials) } }
        let pair = Self.withDatum(settings.certificate.bytes) { certificate in
            Self.withDatum(settings.key.bytes) { key in
                gnutls_certificate_set_x509_key_mem(credentials, certificate, key, GNUTLS_X509_FMT_PEM)
            }
        }
        guard pair >= 0 else { throw Self.explain(pair, settings, fail) }
        if let authorities = settings.authorities {
            let count = Self.withDatum(authorities.bytes) {
                gnutls_certificate_set_x509_trust_mem(credentials, $0, GNUTLS_X509_FMT_PEM)
            }
            guard count > 0 else {
                throw fail(authorities.line, "\(authorities.origin) contains no PEM certificate")
            }
        }
        var priorities: gnutls_priority_t?
        let code = gnutls_priority_init(&priorities, settings.priorities, nil)
        guard code == 0, let priorities else {
            throw fail(nil, "GnuTLS does not support these versions, cipher suites and curves: \(Self.text(code))")
        }
        isComplete = true
        self.settings = settings
        self.credentials = credentials
        self.priorities = priorities
    }

    deinit {
        gnutls_priority_deinit(priorities)
        gnutls_certificate_free_credentials(credentials)
    }

    /// Which of the two was at fault.
    private static func explain(
        _ code: Int32, _ settings: TLSSettings, _ fail: (Int?, String) -> WebConfigError
    ) -> WebConfigError {
        let certificate = settings.certificate
        let key = settings.key
        if code == GNUTLS_E_CERTIFICATE_KEY_MISMATCH {
            return fail(key.line, "\(key.origin) does not match the certificate in \(certificate.origin)")
        }
        if !contains(certificate.bytes, "-----BEGIN CERTIFICATE-----") {
            return fail(certificate.line, "\(certificate.origin) contains no PEM certificate")
        }
        if contains(key.bytes, "-----BEGIN ENCRYPTED PRIVATE KEY-----") || contains(key.bytes, "Proc-Type: 4,ENCRYPTED")
        {
            return fail(key.line, "\(key.origin) is encrypted; use a key without a password")
        }
        if !contains(key.bytes, " PRIVATE KEY-----") {
            return fail(key.line, "\(key.origin) contains no PEM private key")
        }
        return fail(
            certificate.line, "GnuTLS rejects \(certificate.origin) and \(key.origin): \(text(code))")
    }

    private static func contains(_ bytes: [UInt8], _ text: String) -> Bool {
        String(decoding: bytes, as: UTF8.self).contains(text)
    }

    static func withDatum<Result>(_ bytes: [UInt8], _ use: (UnsafePointer<gnutls_datum_t>) -> Result) -> Result {
        var bytes = bytes
        return bytes.withUnsafeMutableBufferPointer { buffer in
            var datum = gnutls_datum_t(data: buffer.baseAddress, size: UInt32(buffer.count))
            return use(&datum)
        }
    }

    private static func text(_ code: Int32) -> String {
        gnutls_strerror(code).map { String(cString: $0) } ?? "error \(code)"
    }

    /// Prepares a session that has not begun its handshake.
    ///
    /// - Parameters:
    ///   - session: The session. It may use what this object holds, so this has to outlive it.
    ///   - client: Where the verdict about the client's certificate is left.
    ///   - isLenient: Whether the handshake succeeds without a good certificate, because some routes need none.
    func prepare(_ session: gnutls_session_t, for client: ConnectionState, isLenient: Bool) {
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials))
        gnutls_priority_set(session, priorities)
        let policy = settings.clientAuthentication
        guard policy != .none else { return gnutls_certificate_server_set_request(session, GNUTLS_CERT_IGNORE) }
        gnutls_certificate_server_set_request(
            session, policy.isRequired && !isLenient ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_REQUEST)
        // The session's place for a cache, of which there is none.
        gnutls_db_set_ptr(session, Unmanaged.passUnretained(client).toOpaque())
        client.client = .missing
        client.isLenient = isLenient
        gnutls_session_set_verify_function(session) { session in
            guard let session, let pointer = gnutls_db_get_ptr(session) else { return -1 }
            let state = Unmanaged<ConnectionState>.fromOpaque(pointer).takeUnretainedValue()
            guard let settings = state.material?.settings else { return -1 }
            let verdict = ClientCertificate.verdict(session, settings)
            state.client = verdict
            return state.isLenient || verdict.isAdmitted(by: settings.clientAuthentication) ? 0 : -1
        }
    }
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

/// What is known of a client's certificate.
enum ClientCertificate: Equatable {
    /// There is none.
    case missing
    /// There is one, and it passes what the policy demands of one.
    case good
    /// There is one that does not pass.
    case bad(reason: String)

    /// Whether a client with this may enter.
    func isAdmitted(by policy: ClientAuthentication) -> Bool {
        switch self {
        case .missing: !policy.isRequired
        case .good: true
        case .bad: !policy.isVerified
        }
    }

    /// Why a client may not enter, for the client.
    var refusal: String {
        switch self {
        case .missing: "a client certificate is required\n"
        case .good: ""
        case .bad(let reason): "client certificate rejected: \(reason)\n"
        }
    }

    /// Judges the certificate of a handshake.
    static func verdict(_ session: gnutls_session_t, _ settings: TLSSettings) -> ClientCertificate {
        var count: UInt32 = 0
        guard let chain = gnutls_certificate_get_peers(session, &count), count > 0 else { return .missing }
        guard settings.clientAuthentication.isVerified else { return .good }
        var status: UInt32 = 0
        guard cgnutls_verify_client(session, &status) >= 0 else { return .bad(reason: "it cannot be verified") }
        guard status == 0 else { return .bad(reason: reason(of: status)) }
        guard let allowed = settings.allowedNames else { return .good }
        let names = names(in: chain)
        return names.contains(where: allowed.contains)
            ? .good : .bad(reason: "none of its names is allowed")
    }

    private static func reason(of status: UInt32) -> String {
        let reasons: [(gnutls_certificate_status_t, String)] = [
            (GNUTLS_CERT_EXPIRED, "it has expired"), (GNUTLS_CERT_NOT_ACTIVATED, "it is not valid yet"),
            (GNUTLS_CERT_REVOKED, "it has been revoked"),
            (GNUTLS_CERT_SIGNER_NOT_FOUND, "it is not signed by a trusted authority"),
            (GNUTLS_CERT_SIGNER_NOT_CA, "its signer is not an authority"),
            (GNUTLS_CERT_INSECURE_ALGORITHM, "its signature algorithm is insecure"),
            (GNUTLS_CERT_PURPOSE_MISMATCH, "it is not issued for client authentication"),
        ]
        return reasons.first { status & UInt32($0.0.rawValue) != 0 }?.1 ?? "it is not valid"
    }

    /// The alternative names of a certificate, written as exporter-toolkit compares them: DNS names, mail addresses, IP
    /// addresses and URIs.
    private static func names(in chain: UnsafePointer<gnutls_datum_t>) -> [String] {
        var made: gnutls_x509_crt_t?
        guard gnutls_x509_crt_init(&made) == 0, let certificate = made else { return [] }
        defer { gnutls_x509_crt_deinit(certificate) }
        guard gnutls_x509_crt_import(certificate, chain, GNUTLS_X509_FMT_DER) == 0 else { return [] }
        var names: [String] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        for sequence in UInt32(0)..<1000 {
            var length = buffer.count
            let kind = gnutls_x509_crt_get_subject_alt_name(certificate, sequence, &buffer, &length, nil)
            if kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { break }
            guard kind >= 0 else { continue }
            let bytes = buffer.prefix(length)
            switch gnutls_x509_subject_alt_name_t(rawValue: UInt32(kind)) {
            case GNUTLS_SAN_DNSNAME, GNUTLS_SAN_RFC822NAME, GNUTLS_SAN_URI:
                names.append(String(decoding: bytes, as: UTF8.self))
            case GNUTLS_SAN_IPADDRESS:
                if let text = address(Array(bytes)) { names.append(text) }
            default: break
            }
        }
        return names
    }

    private static func address(_ bytes: [UInt8]) -> String? {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let family = bytes.count == 4 ? AF_INET : AF_INET6
        guard bytes.count == 4 || bytes.count == 16,
            inet_ntop(family, bytes, &text, socklen_t(text.count)) != nil
        else { return nil }
        return text.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } }
    }
}
