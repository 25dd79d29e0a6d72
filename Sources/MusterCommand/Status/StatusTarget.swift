// SPDX-License-Identifier: Apache-2.0

/// Where a service's status is asked for.
public struct StatusTarget: Hashable, Sendable {
    /// Why a text names no target.
    public struct Problem: Error, Hashable, Sendable, CustomStringConvertible {
        /// What was wrong and what to do.
        public let description: String
    }

    /// The default of the endpoint's address, as a URL.
    public static let standard = "http://127.0.0.1:9917"

    /// The endpoint as the user knows it, for messages.
    public let shown: String
    /// What to ask for: a URL that ends in `/status`.
    public let url: String
    /// The Unix socket to ask at; `nil` for the URL's host.
    public let socketPath: String?
    /// Whether it is asked under TLS.
    public let isEncrypted: Bool

    /// Reads a target as people write it.
    ///
    /// - Parameter text: `http://HOST:PORT`, `https://HOST:PORT`, `HOST:PORT` or `HOST` (port 9917), `unix:PATH`, or
    ///   `https+unix:PATH` for a Unix socket whose endpoint speaks TLS. A URL may have a path, under which a proxy
    ///   serves the endpoint.
    /// - Throws: ``Problem``.
    public init(parsing text: String) throws(Problem) {
        for (prefix, scheme) in [("unix:", "http"), ("https+unix:", "https")] where text.hasPrefix(prefix) {
            let path = String(text.dropFirst(prefix.count))
            guard path.hasPrefix("/") || path.hasPrefix("./") || path.hasPrefix("../"), !path.hasPrefix("//") else {
                throw Problem(description: "'\(text)' has no path of a socket: write \(prefix)/run/mailer.sock")
            }
            shown = text
            url = "\(scheme)://localhost/status"
            socketPath = path
            isEncrypted = scheme == "https"
            return
        }
        guard !text.isEmpty, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw Problem(description: "'\(text)' is no URL: write \(Self.standard) or unix:/run/mailer.sock")
        }
        var rest = text[...]
        var scheme = "http"
        let separator = "://"
        if let range = text.firstRange(of: separator) {
            scheme = text[..<range.lowerBound].lowercased()
            guard scheme == "http" || scheme == "https" else {
                throw Problem(
                    description: "'\(text)': '\(scheme)' is no protocol that is spoken here: write http, https or unix")
            }
            rest = text[range.upperBound...]
        }
        let isBare = rest.startIndex == text.startIndex
        let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        let tail = rest[authority.endIndex...]
        guard !authority.contains("@") else {
            throw Problem(
                description:
                    "a password in the URL is seen by everybody on this machine: use --user and --password-file")
        }
        guard !tail.contains("?"), !tail.contains("#") else {
            throw Problem(description: "'\(text)': write the URL without '?' and '#'")
        }
        var host = String(authority)
        if host.hasPrefix(":") { host = "127.0.0.1" + host }
        guard !host.isEmpty, host != ":" else { throw Problem(description: "'\(text)' names no host") }
        // What is no URL is the address of an endpoint, and has its default port.
        if isBare, host.hasSuffix("]") || !host.contains(":") { host += ":9917" }
        var path = String(tail)
        while path.hasSuffix("/") { path.removeLast() }
        if path.hasSuffix("/status") { path.removeLast("/status".count) }
        shown = "\(scheme)://\(host)\(path)"
        url = shown + "/status"
        socketPath = nil
        isEncrypted = scheme == "https"
    }
}
