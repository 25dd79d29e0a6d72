// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterHTTP
import MusterPlatform

/// Decides which requests are answered, by the newest usable version of the web config file.
///
/// Belongs to the endpoint's thread.
final class AccessControl {
    enum Decision {
        case granted
        case refused(FixedResponse)
        case badCertificate(ClientCertificate)
        /// Whether it is granted depends on a password.
        case login(BasicCredentials)
    }

    /// Where passwords are checked.
    let verifier: PasswordVerifier
    private let source: WebConfigSource
    private let opensProbes: Bool
    private let logger: Logger
    private let metrics: EndpointMetrics?
    private var bucket: TokenBucket?
    /// When the certificates' state changes next, in seconds since 1970.
    private var nextCertificateCheck = Int64.max

    init(
        source: WebConfigSource, verifier: PasswordVerifier, opensProbes: Bool, logger: Logger,
        metrics: EndpointMetrics?
    ) {
        self.source = source
        self.verifier = verifier
        self.opensProbes = opensProbes
        self.logger = logger
        self.metrics = metrics
        metrics?.countWebConfig(isValid: true)
        log("web config file loaded")
        verifier.setUsers(config.users)
        bucket = config.rateLimit.map { TokenBucket($0) }
    }

    /// The newest usable version of the file.
    var config: WebConfig { source.current.config }
    /// Its part for TLS.
    var credentials: TLSCredentials? { source.current.credentials }

    /// What a look at the file has brought.
    enum Change {
        case none
        /// There will be something to see after this time.
        case pending(Duration)
        case newVersion
    }

    /// Reloads the file if it has changed.
    func refresh() -> Change {
        let limit = config.rateLimit
        if Self.now >= nextCertificateCheck { checkCertificates() }
        switch source.refresh() {
        case .none:
            return .none
        case .pending(let wait):
            return .pending(wait)
        case .failed(let error):
            metrics?.countWebConfig(isValid: false)
            logger.warning(
                "invalid web config file; keeping the previous version",
                metadata: ["reason": "\(error)"])
            return .none
        case .loaded:
            metrics?.countWebConfig(isValid: true)
            log("web config file reloaded")
            verifier.setUsers(config.users)
            if config.rateLimit != limit { bucket = config.rateLimit.map { TokenBucket($0) } }
            return .newVersion
        }
    }

    private static var now: Int64 { Int64(WallClock.secondsSinceEpoch) }

    /// Tells of certificates that are not valid, now and whenever that changes.
    private func checkCertificates() {
        let now = Self.now
        for problem in config.certificateProblems(at: now) {
            logger.warning("certificate of web config file not valid", metadata: ["reason": "\(problem)"])
        }
        let validity = credentials?.validity
        metrics?.setCertificateExpiry(validity?.end)
        nextCertificateCheck =
            [validity?.start, validity?.end].compactMap { $0.map { $0 + 1 } }.filter { $0 > now }.min() ?? .max
    }

    private func log(_ message: Logger.Message) {
        var metadata: Logger.Metadata = ["file": "\(source.file)", "content": "\(config.summary)"]
        if config.asksForHTTP2 { metadata["http2"] = "not supported; serving HTTP/1.1" }
        logger.info(message, metadata: metadata)
        checkCertificates()
    }

    /// Decides about a request; `authorization` is the header of that name.
    func decide(
        _ route: Route, certificate: ClientCertificate, authorization: UnsafePointer<CChar>?,
        at now: MonotonicInstant
    ) -> Decision {
        if opensProbes, case .health = route { return .granted }
        guard bucket?.take(at: now) ?? true else { return .refused(.tooManyRequests) }
        if let policy = credentials?.configuration.clientAuthentication, !certificate.isAdmitted(by: policy) {
            return .badCertificate(certificate)
        }
        guard verifier.hasUsers else { return .granted }
        guard let authorization, let credentials = BasicCredentials(String(cString: authorization)) else {
            return .refused(.unauthorized)
        }
        return .login(credentials)
    }
}

/// Counts requests against a rate limit. The time is passed in, so it needs no clock.
struct TokenBucket {
    let limit: RateLimit
    /// The instant at which the bucket will be full, in monotonic nanoseconds: all that there is to remember.
    private var fullAt: Int64 = .min

    init(_ limit: RateLimit) {
        self.limit = limit
    }

    /// Takes one token; returns whether there was one.
    mutating func take(at now: MonotonicInstant) -> Bool {
        let interval = limit.interval.clampedNanoseconds
        let next = max(fullAt, now.nanoseconds) + interval
        let (room, overflows) = interval.multipliedReportingOverflow(by: Int64(limit.burst))
        guard overflows || next - now.nanoseconds <= room else { return false }
        fullAt = next
        return true
    }
}
