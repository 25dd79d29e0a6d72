// SPDX-License-Identifier: Apache-2.0

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
    ///
    /// - Parameter target: What was asked.
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
            "there is no such socket; is the program running, and is its muster.endpoint.address another one?"
        case .notPermitted:
            "permission denied; run it as a user who may write to the socket"
        case .unknownHost:
            "the host's name has no address; is it spelt correctly?"
        case .unreachable(let reason):
            "cannot connect: \(reason)"
        case .timedOut(let limit):
            """
            no answer within \(limit.plain); is the machine overloaded, or a firewall in between? --timeout gives it \
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
            "the answer has more than \(limit) bytes, and is no status"
        case .status(let status, let hint):
            answered(status, hint)
        case .noStatus(let reason):
            "the answer is no status: \(reason); is it the endpoint of a service with Muster?"
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
