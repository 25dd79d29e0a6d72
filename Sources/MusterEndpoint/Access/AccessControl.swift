// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterPlatform

/// Decides who is answered, by the newest usable version of the web config file.
///
/// Belongs to the endpoint's thread.
final class AccessControl {
    /// What becomes of a request.
    enum Verdict {
        case granted
        /// The connection was made under rules that do not hold any more.
        case outdated
        case refused(FixedResponse)
        case badCertificate(ClientCertificate)
        /// Whether it is granted depends on a password.
        case login(BasicCredentials)
    }

    /// Where passwords are checked.
    let desk: LoginDesk
    private let source: WebConfigSource
    private let opensProbes: Bool
    private let logger: Logger
    private let metrics: EndpointMetrics?
    private var bucket: TokenBucket?

    /// Takes a file into use.
    ///
    /// - Parameters:
    ///   - source: The file.
    ///   - desk: Where passwords are checked.
    ///   - opensProbes: Whether probes are answered for everybody.
    ///   - logger: Where versions that cannot be used are told of.
    ///   - metrics: Where versions are counted.
    init(
        source: WebConfigSource, desk: LoginDesk, opensProbes: Bool, logger: Logger, metrics: EndpointMetrics?
    ) {
        self.source = source
        self.desk = desk
        self.opensProbes = opensProbes
        self.logger = logger
        self.metrics = metrics
        metrics?.countWebConfig(isValid: true)
        tell("the endpoint's web config file is in use")
        desk.use(config.users)
        bucket = config.rateLimit.map { TokenBucket($0) }
    }

    /// The newest usable version of the file.
    var config: WebConfig { source.current.config }
    /// Its part for TLS.
    var material: TLSMaterial? { source.current.material }

    /// Takes up a new version of the file.
    ///
    /// - Returns: Whether there is one.
    func refresh() -> Bool {
        let limit = config.rateLimit
        switch source.refresh() {
        case .none:
            return false
        case .failed(let error):
            metrics?.countWebConfig(isValid: false)
            logger.warning(
                "the endpoint's web config file cannot be used; what it said before still holds",
                metadata: ["reason": "\(error)"])
            return false
        case .loaded:
            metrics?.countWebConfig(isValid: true)
            tell("the endpoint's web config file has changed and is in use")
            desk.use(config.users)
            if config.rateLimit != limit { bucket = config.rateLimit.map { TokenBucket($0) } }
            return true
        }
    }

    private func tell(_ message: Logger.Message) {
        var metadata: Logger.Metadata = ["file": "\(source.file)", "content": "\(config.summary)"]
        if config.asksForHTTP2 { metadata["http2"] = "not served; HTTP/1.1 is" }
        logger.info(message, metadata: metadata)
    }

    /// Judges a request.
    ///
    /// - Parameters:
    ///   - route: What it asks for.
    ///   - connection: Where it came from.
    ///   - authorization: The header of that name.
    ///   - now: The time.
    func judge(
        _ route: Route, from connection: ConnectionState, authorization: UnsafePointer<CChar>?,
        at now: MonotonicInstant
    ) -> Verdict {
        guard isCurrent(connection) else { return .outdated }
        if opensProbes, case .health = route { return .granted }
        guard bucket?.take(at: now) ?? true else { return .refused(.tooManyRequests) }
        if let policy = material?.settings.clientAuthentication, !connection.client.isAdmitted(by: policy) {
            return .badCertificate(connection.client)
        }
        guard desk.hasUsers else { return .granted }
        guard let authorization, let credentials = BasicCredentials(String(cString: authorization)) else {
            return .refused(.unauthorized)
        }
        return .login(credentials)
    }

    /// Prepares the TLS of a new connection.
    func prepare(_ connection: ConnectionState, _ session: OpaquePointer) {
        guard let material else { return }
        connection.material = material
        material.prepare(session, for: connection, isLenient: opensProbes)
    }

    /// Whether a connection was made under the rules that hold now. A renewed certificate of the server's own changes
    /// nothing about that.
    func isCurrent(_ connection: ConnectionState) -> Bool {
        connection.material === material || connection.material?.settings.admission == material?.settings.admission
    }
}

/// Counts requests against a rate limit. Told the time, so it needs no clock.
struct TokenBucket {
    let limit: RateLimit
    /// The instant at which the bucket will be full, in monotonic nanoseconds: all that there is to remember.
    private var fullAt: Int64 = .min

    init(_ limit: RateLimit) {
        self.limit = limit
    }

    /// Takes one token.
    ///
    /// - Parameter now: The time.
    /// - Returns: Whether there was one.
    mutating func take(at now: MonotonicInstant) -> Bool {
        let interval = limit.interval.clampedNanoseconds
        let next = max(fullAt, now.nanoseconds) + interval
        let (room, overflows) = interval.multipliedReportingOverflow(by: Int64(limit.burst))
        guard overflows || next - now.nanoseconds <= room else { return false }
        fullAt = next
        return true
    }
}
