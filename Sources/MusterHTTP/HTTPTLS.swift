// SPDX-License-Identifier: Apache-2.0

import CGnuTLS
import Glibc

/// What TLS is served with.
package struct TLSConfiguration: Hashable, Sendable {
    /// The chain and its key in PEM form.
    package var certificate: [UInt8]
    package var key: [UInt8]
    /// In PEM form: who may sign clients' certificates.
    package var authorities: [UInt8]?
    package var clientAuthentication: ClientAuthentication
    /// The names of which a client's certificate has to have one; `nil` for no such demand.
    package var allowedNames: [String]?
    /// Versions, ciphers and groups, as GnuTLS' priority string.
    package var priorities: String

    package init(
        certificate: [UInt8], key: [UInt8], authorities: [UInt8]? = nil,
        clientAuthentication: ClientAuthentication = .none, allowedNames: [String]? = nil,
        priorities: String = "NORMAL"
    ) {
        self.certificate = certificate
        self.key = key
        self.authorities = authorities
        self.clientAuthentication = clientAuthentication
        self.allowedNames = allowedNames
        self.priorities = priorities
    }

    /// What decides which clients are admitted, as opposed to what the server shows of itself.
    struct Admission: Hashable {
        var authorities: [UInt8]?
        var clientAuthentication: ClientAuthentication
        var allowedNames: [String]?
    }

    var admission: Admission {
        Admission(authorities: authorities, clientAuthentication: clientAuthentication, allowedNames: allowedNames)
    }
}

/// What is required of a client's certificate. The names are those of Go's crypto/tls, which exporter-toolkit uses.
package enum ClientAuthentication: String, CaseIterable, Hashable, Sendable {
    /// No certificate is requested.
    case none = "NoClientCert"
    /// One is requested; none, or any, will do.
    case request = "RequestClientCert"
    /// There has to be one; any will do.
    case requireAny = "RequireAnyClientCert"
    /// There need not be one; one that is there has to be good.
    case verifyIfGiven = "VerifyClientCertIfGiven"
    /// There has to be a good one.
    case requireAndVerify = "RequireAndVerifyClientCert"

    /// Whether a client has to have a certificate.
    package var isRequired: Bool { self == .requireAny || self == .requireAndVerify }
    /// Whether a certificate is verified against the authorities.
    package var isVerified: Bool { self == .verifyIfGiven || self == .requireAndVerify }

    /// Whether this keeps out clients that the other one lets in.
    package func isStricter(than other: ClientAuthentication) -> Bool {
        (isRequired && !other.isRequired) || (isVerified && !other.isVerified)
    }
}

/// Why a TLS configuration cannot be used.
package enum TLSError: Error, Equatable {
    /// GnuTLS is missing.
    case noLibrary(reason: String)
    case outOfMemory
    case noCertificate
    case noKey
    case encryptedKey
    case keyMismatch
    /// GnuTLS takes certificate and key for another reason not.
    case rejected(reason: String)
    case noAuthorities
    case unsupportedPriorities(reason: String)
}

/// Certificate, key, authorities and priorities as GnuTLS holds them: what each new session is given.
///
/// Belongs to the server's thread, apart from its creation.
package final class TLSCredentials {
    package let configuration: TLSConfiguration
    /// When the server's own certificates are valid.
    package let validity: CertificateValidity?
    private let credentials: gnutls_certificate_credentials_t
    private let priorities: gnutls_priority_t

    /// Makes GnuTLS take them, which checks them.
    package init(_ configuration: TLSConfiguration) throws(TLSError) {
        if let problem = cgnutls_load() { throw .noLibrary(reason: String(cString: problem)) }
        var credentials: gnutls_certificate_credentials_t?
        guard gnutls_certificate_allocate_credentials(&credentials) == 0, let credentials else { throw .outOfMemory }
        var isComplete = false
        defer { if !isComplete { gnutls_certificate_free_credentials(credentials) } }
        let pair = Self.withDatum(configuration.certificate) { certificate in
            Self.withDatum(configuration.key) { key in
                gnutls_certificate_set_x509_key_mem(credentials, certificate, key, GNUTLS_X509_FMT_PEM)
            }
        }
        guard pair >= 0 else { throw Self.explain(pair, configuration) }
        if let authorities = configuration.authorities {
            let count = Self.withDatum(authorities) {
                gnutls_certificate_set_x509_trust_mem(credentials, $0, GNUTLS_X509_FMT_PEM)
            }
            guard count > 0 else { throw .noAuthorities }
        }
        var priorities: gnutls_priority_t?
        let code = gnutls_priority_init(&priorities, configuration.priorities, nil)
        guard code == 0, let priorities else { throw .unsupportedPriorities(reason: Self.text(code)) }
        isComplete = true
        self.configuration = configuration
        validity = CertificateValidity(ofChain: CertificateValidity.read(pem: configuration.certificate))
        self.credentials = credentials
        self.priorities = priorities
    }

    deinit {
        gnutls_priority_deinit(priorities)
        gnutls_certificate_free_credentials(credentials)
    }

    /// Which of certificate and key was at fault.
    private static func explain(_ code: Int32, _ configuration: TLSConfiguration) -> TLSError {
        if code == GNUTLS_E_CERTIFICATE_KEY_MISMATCH { return .keyMismatch }
        let key = String(decoding: configuration.key, as: UTF8.self)
        if !String(decoding: configuration.certificate, as: UTF8.self).contains("-----BEGIN CERTIFICATE-----") {
            return .noCertificate
        }
        if key.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || key.contains("Proc-Type: 4,ENCRYPTED") {
            return .encryptedKey
        }
        return key.contains(" PRIVATE KEY-----") ? .rejected(reason: text(code)) : .noKey
    }

    fileprivate static func withDatum<Result>(
        _ bytes: [UInt8], _ use: (UnsafePointer<gnutls_datum_t>) -> Result
    ) -> Result {
        var bytes = bytes
        return bytes.withUnsafeMutableBufferPointer { buffer in
            var datum = gnutls_datum_t(data: buffer.baseAddress, size: UInt32(buffer.count))
            return use(&datum)
        }
    }

    private static func text(_ code: Int32) -> String {
        gnutls_strerror(code).map { String(cString: $0) } ?? "error \(code)"
    }

    /// Prepares a session that has not begun its handshake. It may use what this object holds, so this has to outlive
    /// it.
    func prepare(_ session: gnutls_session_t, for connection: HTTPConnection, isLenient: Bool) {
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials))
        gnutls_priority_set(session, priorities)
        // The session's place for a cache, of which there is none.
        gnutls_db_set_ptr(session, Unmanaged.passUnretained(connection).toOpaque())
        gnutls_handshake_set_hook_function(session, UInt32(GNUTLS_HANDSHAKE_FINISHED.rawValue), GNUTLS_HOOK_POST) {
            session, _, _, isIncoming, _ in
            if isIncoming != 0, let session, let pointer = gnutls_db_get_ptr(session) {
                Unmanaged<HTTPConnection>.fromOpaque(pointer).takeUnretainedValue().hasFinishedHandshake = true
            }
            return 0
        }
        let policy = configuration.clientAuthentication
        guard policy != .none else { return gnutls_certificate_server_set_request(session, GNUTLS_CERT_IGNORE) }
        gnutls_certificate_server_set_request(
            session, policy.isRequired && !isLenient ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_REQUEST)
        connection.certificate = .missing
        connection.isLenient = isLenient
        gnutls_session_set_verify_function(session) { session in
            guard let session, let pointer = gnutls_db_get_ptr(session) else { return -1 }
            let connection = Unmanaged<HTTPConnection>.fromOpaque(pointer).takeUnretainedValue()
            guard let configuration = connection.tls?.configuration else { return -1 }
            let certificate = ClientCertificate.verified(session, configuration)
            connection.certificate = certificate
            return connection.isLenient || certificate.isAdmitted(by: configuration.clientAuthentication) ? 0 : -1
        }
    }
}

/// When a certificate is valid, or a chain of them, in seconds since 1970.
package struct CertificateValidity: Hashable, Sendable {
    package var start: Int64
    package var end: Int64

    package init(start: Int64, end: Int64) {
        self.start = start
        self.end = end
    }

    /// When all certificates of a chain are valid; `nil` for none.
    package init?(ofChain certificates: [CertificateValidity]) {
        guard let start = certificates.map(\.start).max(), let end = certificates.map(\.end).min() else { return nil }
        self.init(start: start, end: end)
    }

    /// Reads certificates in PEM form; none when they cannot be read.
    package static func read(pem: [UInt8]) -> [CertificateValidity] {
        guard cgnutls_load() == nil else { return [] }
        var made: UnsafeMutablePointer<gnutls_x509_crt_t?>?
        var count: UInt32 = 0
        let code = TLSCredentials.withDatum(pem) {
            gnutls_x509_crt_list_import2(&made, &count, $0, GNUTLS_X509_FMT_PEM, 0)
        }
        guard code >= 0, let made else { return [] }
        defer { cgnutls_free(made) }
        return (0..<Int(count)).compactMap { index in
            guard let certificate = made[index] else { return nil }
            defer { gnutls_x509_crt_deinit(certificate) }
            return CertificateValidity(
                start: Int64(gnutls_x509_crt_get_activation_time(certificate)),
                end: Int64(gnutls_x509_crt_get_expiration_time(certificate)))
        }
    }
}

extension TLSCredentials {
    /// Whether a handshake waits for the client to read, rather than to send.
    static func isSending(_ session: gnutls_session_t?) -> Bool {
        session.map { gnutls_record_get_direction($0) == 1 } ?? false
    }
}

/// What is known of a client's certificate.
package enum ClientCertificate: Equatable {
    /// There is none.
    case missing
    /// There is one, and it passes what the policy demands of one.
    case good
    /// There is one that does not pass.
    case bad(reason: String)

    /// Whether a client with this may enter.
    package func isAdmitted(by policy: ClientAuthentication) -> Bool {
        switch self {
        case .missing: !policy.isRequired
        case .good: true
        case .bad: !policy.isVerified
        }
    }

    /// Verifies the certificate of a handshake.
    fileprivate static func verified(_ session: gnutls_session_t, _ settings: TLSConfiguration) -> ClientCertificate {
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
