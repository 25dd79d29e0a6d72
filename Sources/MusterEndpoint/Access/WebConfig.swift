// SPDX-License-Identifier: Apache-2.0

import MusterHTTP

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
    /// What the file says in so many words that it does not demand.
    let waivers: Set<Demand>

    /// What a file can demand of clients.
    enum Demand: Hashable {
        case tls
        case clientCertificates
        case users
    }

    /// What the file before demanded of clients and this one neither demands nor waives: it may have been truncated, or
    /// not be whole yet. `nil` if there is nothing of the kind.
    func loss(since before: WebConfig) -> WebConfigError? {
        func fail(_ key: String, _ remedy: String) -> WebConfigError {
            WebConfigError(
                file: file, line: nil,
                reason: "\(key) is gone, and access would be open to more clients than before; if that is intended, "
                    + "\(remedy) or restart the program")
        }
        if !before.users.isEmpty, users.isEmpty, !waivers.contains(.users) {
            return fail("basic_auth_users", "write 'basic_auth_users: {}'")
        }
        guard let old = before.tls else { return nil }
        guard let tls else {
            return waivers.contains(.tls) ? nil : fail("tls_server_config", "write 'tls_server_config: {}'")
        }
        if old.clientAuthentication.isStricter(than: tls.clientAuthentication),
            !waivers.contains(.clientCertificates)
        {
            return fail("tls_server_config: client_auth_type", "write it with the new value")
        }
        if old.allowedNames != nil, tls.allowedNames == nil, tls.clientAuthentication == old.clientAuthentication {
            return fail("tls_server_config: client_allowed_sans", "list the names")
        }
        return nil
    }

    /// Loads and checks a file.
    ///
    /// - Parameter file: Its path. Paths in it are relative to its folder.
    /// - Throws: ``WebConfigError``, which names the line and what to do. Nothing is left open by it.
    package static func load(file: String) throws(WebConfigError) -> WebConfig {
        let config = try WebConfigReader.read(file: file)
        _ = try config.tlsCredentials()
        return config
    }

    /// What is wrong with the certificates' validity at an instant (in seconds since 1970), each with its line.
    package func certificateProblems(at now: Int64) -> [WebConfigError] {
        guard let tls else { return [] }
        var problems: [WebConfigError] = []
        let chain = CertificateValidity.read(pem: tls.certificate.bytes)
        if let problem = CertificateValidity(ofChain: chain)?.problem(at: now) {
            problems.append(
                WebConfigError(
                    file: file, line: tls.certificate.line,
                    reason:
                        "tls_server_config: a certificate of \(tls.certificate.origin) \(problem); clients that verify "
                        + "it refuse to connect; renew it"))
        }
        // Of several authorities one that is valid may be the one that counts.
        if let authorities = tls.authorities {
            let found = CertificateValidity.read(pem: authorities.bytes).map { $0.problem(at: now) }
            if let problem = found.first ?? nil, !found.contains(nil) {
                problems.append(
                    WebConfigError(
                        file: file, line: authorities.line,
                        reason: "tls_server_config: the certificate of \(authorities.origin) \(problem); all clients' "
                            + "certificates are refused; renew it"))
            }
        }
        return problems
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

    package var description: String {
        line.map { "\(file):\($0): \(reason)" } ?? "\(file): \(reason)"
    }
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
