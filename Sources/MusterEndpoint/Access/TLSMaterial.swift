// SPDX-License-Identifier: Apache-2.0

import CGnuTLS

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
            throw fail(nil, "needs GnuTLS (Debian's libgnutls30), which cannot be loaded: \(String(cString: problem))")
        }
        var credentials: gnutls_certificate_credentials_t?
        guard gnutls_certificate_allocate_credentials(&credentials) == 0, let credentials else {
            throw fail(nil, "there is no memory for it")
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
                throw fail(authorities.line, "\(authorities.origin) has no certificate in PEM form")
            }
        }
        var priorities: gnutls_priority_t?
        let code = gnutls_priority_init(&priorities, settings.priorities, nil)
        guard code == 0, let priorities else {
            throw fail(nil, "GnuTLS cannot do what versions, ciphers and curves ask for: \(Self.text(code))")
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
            return fail(key.line, "\(key.origin) does not belong to the certificate in \(certificate.origin)")
        }
        if !contains(certificate.bytes, "-----BEGIN CERTIFICATE-----") {
            return fail(certificate.line, "\(certificate.origin) has no certificate in PEM form")
        }
        if contains(key.bytes, "-----BEGIN ENCRYPTED PRIVATE KEY-----") || contains(key.bytes, "Proc-Type: 4,ENCRYPTED")
        {
            return fail(key.line, "\(key.origin) is encrypted; a key without a password is needed")
        }
        if !contains(key.bytes, " PRIVATE KEY-----") {
            return fail(key.line, "\(key.origin) has no private key in PEM form")
        }
        return fail(
            certificate.line, "GnuTLS does not take \(certificate.origin) and \(key.origin): \(text(code))")
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
