// SPDX-License-Identifier: Apache-2.0

/// What a web config file says: exporter-toolkit's format, which Prometheus and its exporters share.
///
/// It is checked as a whole when it is loaded, the certificates and keys that it names included.
public struct WebConfig: Sendable {
    /// The file's path, as it was given.
    public let file: String
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
    public static func load(file: String) throws(WebConfigError) -> WebConfig {
        let config = try WebConfigReader.read(file: file, with: FileContent.read)
        if let tls = config.tls { _ = try TLSMaterial(tls, file: file) }
        return config
    }

    /// Whether connections are encrypted.
    public var usesTLS: Bool { tls != nil }

    /// What it demands and offers, in one line for people.
    public var summary: String {
        var parts: [String] = []
        if let tls {
            let versions = [tls.minimum.rawValue, tls.maximum.rawValue]
            parts.append(versions[0] == versions[1] ? versions[0] : versions.joined(separator: " to "))
            parts.append("client certificates: \(tls.clientAuthentication.rawValue)")
        } else {
            parts.append("no TLS")
        }
        parts.append("basic auth: \(users.isEmpty ? "none" : "\(users.count) \(users.count == 1 ? "user" : "users")")")
        if let rateLimit { parts.append("one request in \(rateLimit.interval), \(rateLimit.burst) at once") }
        if !headers.isEmpty { parts.append("headers: \(headers.map(\.name).joined(separator: ", "))") }
        return parts.joined(separator: "; ")
    }
}
