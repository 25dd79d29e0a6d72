// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import MusterEndpoint
package import MusterHealth
import MusterPlatform

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
    /// Whether it is on this machine, so that no proxy leads there.
    public let isLocal: Bool
    private let host: String

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
            isLocal = true
            host = "localhost"
            return
        }
        guard !text.isEmpty, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw Problem(description: "'\(text)' is not a URL: write \(Self.standard) or unix:/run/mailer.sock")
        }
        var rest = text[...]
        var scheme = "http"
        let separator = "://"
        if let range = text.firstRange(of: separator) {
            scheme = text[..<range.lowerBound].lowercased()
            guard scheme == "http" || scheme == "https" else {
                throw Problem(
                    description: "'\(text)': '\(scheme)' is not a supported protocol: use http, https or unix")
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
        let name = Self.name(of: host)
        self.host = name
        isLocal = name == "localhost" || name.hasSuffix(".localhost") || name == "::1" || name.hasPrefix("127.")
    }

    /// A host without its port and brackets.
    private static func name(of host: String) -> String {
        if host.hasPrefix("[") { return String(host.dropFirst().prefix { $0 != "]" }).lowercased() }
        return String(host.prefix { $0 != ":" }).lowercased()
    }

    /// The proxy that the environment names for this target, with the variable's name, as libcurl reads them: not for what
    /// is on this machine, nor for what `NO_PROXY` names.
    public func proxy(environment: (String) -> String?) -> (variable: String, url: String)? {
        guard !isLocal, !isExcepted(environment("no_proxy") ?? environment("NO_PROXY") ?? "") else { return nil }
        let variables = isEncrypted ? ["https_proxy", "HTTPS_PROXY"] : ["http_proxy"]
        for variable in variables + ["all_proxy", "ALL_PROXY"] {
            if let url = environment(variable), !url.isEmpty { return (variable, url) }
        }
        return nil
    }

    /// A proxy's URL as it may be shown.
    public static func withoutPassword(_ url: String) -> String {
        guard let at = url.lastIndex(of: "@") else { return url }
        let scheme = url.firstRange(of: "://").map { String(url[..<$0.upperBound]) } ?? ""
        return scheme + url[url.index(after: at)...]
    }

    private func isExcepted(_ names: String) -> Bool {
        names.split(whereSeparator: { $0 == "," || $0 == " " }).contains { name in
            let name = name.lowercased()
            let domain = name.hasPrefix(".") ? String(name.dropFirst()) : name
            return name == "*" || host == domain || host.hasSuffix("." + domain)
        }
    }
}

/// Why no status was had.
public enum FetchFailure: Error, Hashable, Sendable {
    /// Nobody listens there.
    case refused
    /// There is no such socket.
    case noSocket
    /// The socket may not be used.
    case notPermitted
    /// A host's name has no address.
    case unknownHost
    /// The network does not lead there.
    case unreachable(reason: String)
    /// It took too long. `limit` is how long that was.
    case timedOut(limit: Duration)
    /// The server's certificate is not trusted.
    case untrusted(reason: String)
    /// Encryption failed otherwise: no TLS there, no common version, no certificate of the client's.
    case tls(reason: String)
    /// A file of certificates or keys cannot be used.
    case badFile(reason: String)
    /// What answers speaks no HTTP.
    case noHTTP
    /// The connection ended before the answer did.
    case cutOff(reason: String)
    /// The answer has more than `limit` bytes.
    case tooLarge(limit: Int)
    /// An answer with another HTTP status than 200. `hint` is the first line of its text.
    case status(Int, hint: String)
    /// An answer that is no status.
    case noStatus(reason: String)
    /// A status of a later version.
    case version(Int)
    /// Anything else.
    case other(reason: String)
    /// The user has ended the program.
    case interrupted

    /// What was wrong and what to do, in one line.
    public func message(for target: StatusTarget) -> String {
        "\(target.shown): \(reason(target))".onOneLine
    }

    private func reason(_ target: StatusTarget) -> String {
        switch self {
        case .refused:
            """
            connection refused; is the program running, and is its muster.endpoint.address (MUSTER_ENDPOINT_ADDRESS) \
            another one?
            """
        case .noSocket:
            "no such socket; is the program running, and is its muster.endpoint.address another one?"
        case .notPermitted:
            "permission denied; run it as a user who may write to the socket"
        case .unknownHost:
            "the host's name has no address; is it spelt correctly?"
        case .unreachable(let reason):
            "cannot connect: \(reason)"
        case .timedOut(let limit):
            """
            no answer within \(limit.text); is the machine overloaded, or a firewall in between? --timeout gives it \
            longer
            """
        case .untrusted(let reason):
            """
            its certificate is not trusted: \(reason); name the authority's certificate with --ca-file, or do without \
            the check with --insecure
            """
        case .tls(let reason):
            "TLS failed: \(reason); is it an endpoint with TLS, and does it ask for --cert and --key?"
        case .badFile(let reason):
            "a file of --ca-file, --cert or --key cannot be used: \(reason)"
        case .noHTTP:
            target.isEncrypted
                ? "what answers there speaks no HTTP" : "what answers there speaks no HTTP; is it https://?"
        case .cutOff(let reason):
            target.isEncrypted
                ? "the connection ended before the answer: \(reason); does the endpoint ask for --cert and --key?"
                : "the connection ended before the answer: \(reason); is it https://?"
        case .tooLarge(let limit):
            "the answer has more than \(limit) bytes and is not a status report"
        case .status(let status, let hint):
            answered(status, hint)
        case .noStatus(let reason):
            "the answer is not a status report: \(reason); is it the endpoint of a service with Muster?"
        case .version(let version):
            """
            its status has version \(version), which this muster does not know; use the muster of the service's \
            version
            """
        case .other(let reason):
            reason
        case .interrupted:
            "interrupted"
        }
    }

    private func answered(_ status: Int, _ hint: String) -> String {
        let said = hint.isEmpty ? "HTTP status \(status)" : "HTTP status \(status), '\(TextWidth.cut(hint, to: 80))'"
        switch status {
        case 400 where !hintOfTLS(hint).isEmpty: return "\(said); \(hintOfTLS(hint))"
        case 401:
            return "\(said): it wants a user's name and password; use --user with --password-file or MUSTER_PASSWORD"
        case 403: return "\(said): it wants another client certificate, or none of yours; use --cert and --key"
        case 404:
            return "\(said): it has no status; is it the endpoint of a service with Muster, of a version that has one?"
        case 429: return "\(said): it is asked too often; wait, or watch with a longer --interval"
        case 503: return "\(said): it has too much to do; try again"
        case 300..<400: return "\(said): it leads elsewhere; name the URL that it leads to"
        default: return said
        }
    }

    private func hintOfTLS(_ hint: String) -> String {
        hint.lowercased().contains("https") || hint.lowercased().contains("tls") ? "is it https://?" : ""
    }
}

/// An answer to the question for a status: the document as it came, and what it says.
public struct StatusAnswer: Hashable, Sendable {
    /// The document as it came.
    public let document: [UInt8]
    /// What it says.
    package let report: StatusReport

    /// Reads an answer.
    ///
    /// - Throws: ``FetchFailure/status(_:hint:)``, ``FetchFailure/version(_:)``, ``FetchFailure/noStatus(reason:)``.
    public init(status: Int, body: [UInt8]) throws(FetchFailure) {
        guard status == 200 else {
            let line = body.prefix { $0 != 0x0A }.prefix(200)
            throw .status(status, hint: line.first == UInt8(ascii: "<") ? "" : String(decoding: line, as: UTF8.self))
        }
        document = body
        if let version = try? JSONDecoder().decode(Version.self, from: Data(body)).schemaVersion,
            version != StatusReport.currentSchemaVersion
        {
            throw .version(version)
        }
        do {
            report = try StatusReport(json: body)
        } catch let error as DecodingError {
            throw .noStatus(reason: Self.text(error))
        } catch {
            throw .noStatus(reason: "\(error)")
        }
    }

    private struct Version: Decodable {
        let schemaVersion: Int
    }

    private static func text(_ error: DecodingError) -> String {
        let (context, what): (DecodingError.Context, String) =
            switch error {
            case .keyNotFound(let key, let context): (context, "the key '\(key.stringValue)' is missing")
            case .typeMismatch(_, let context): (context, "a value has another type")
            case .valueNotFound(_, let context): (context, "a value is missing")
            case .dataCorrupted(let context):
                (context, context.codingPath.isEmpty ? "not valid JSON" : "a value cannot be read")
            @unknown default: (DecodingError.Context(codingPath: [], debugDescription: ""), "it cannot be read")
            }
        let path = context.codingPath.map(\.stringValue).joined(separator: ".")
        return path.isEmpty ? what : "\(what), at '\(path)'"
    }

    /// The process of the first worker that has one.
    package var firstWorker: Int32? { report.workers.lazy.compactMap(\.process?.pid).first }

    /// The exit code: ``CommandExit/success`` for a service that is live and ready.
    public var exit: CommandExit {
        report.health.live != .fail && report.health.ready != .fail ? .success : .unwell
    }
}
