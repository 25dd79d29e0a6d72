// SPDX-License-Identifier: Apache-2.0

import CGnuTLS
import Glibc

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
        case .bad(let reason): "the client certificate is not accepted: \(reason)\n"
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
            (GNUTLS_CERT_SIGNER_NOT_FOUND, "no authority that is trusted here has signed it"),
            (GNUTLS_CERT_SIGNER_NOT_CA, "who has signed it is no authority"),
            (GNUTLS_CERT_INSECURE_ALGORITHM, "its signature's algorithm is insecure"),
            (GNUTLS_CERT_PURPOSE_MISMATCH, "it is not made for clients"),
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
