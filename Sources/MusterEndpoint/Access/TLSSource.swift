// SPDX-License-Identifier: Apache-2.0

package import Logging
package import MusterHTTP

/// A web config file for another server than the endpoint: its TLS and its headers, kept up to date.
///
/// Belongs to the server's thread, apart from its creation.
package final class TLSSource {
    private let source: WebConfigSource
    private let logger: Logger

    /// Loads the file.
    ///
    /// - Throws: ``WebConfigError``, also for passwords and rates, which only the endpoint knows: leaving them out would
    ///   open what they are to protect.
    package init(file: String, logger: Logger) throws(WebConfigError) {
        source = try WebConfigSource(file: file, settlingTime: .seconds(1))
        self.logger = logger
        if let problem = Self.problem(of: source.current.config) {
            throw WebConfigError(file: file, line: nil, reason: problem)
        }
        logger.info("web config file loaded", metadata: details)
    }

    /// What new connections are encrypted with; `nil` for no TLS.
    package var credentials: TLSCredentials? { source.current.credentials }

    /// What each answer has.
    package var headers: [(name: String, value: String)] { source.current.config.headers.map { ($0.name, $0.value) } }

    /// Looks whether the files have changed. Returns whether there is a new version, or when to look again.
    package func refresh() -> (isNew: Bool, wait: Duration?) {
        switch source.refresh() {
        case .none: return (false, nil)
        case .pending(let wait): return (false, wait)
        case .failed(let error):
            logger.warning("invalid web config file; keeping the previous version", metadata: ["reason": "\(error)"])
            return (false, nil)
        case .loaded:
            if let problem = Self.problem(of: source.current.config) {
                logger.warning("web config file is not followed in part", metadata: ["reason": "\(problem)"])
            }
            logger.info("web config file reloaded", metadata: details)
            return (true, nil)
        }
    }

    private var details: Logger.Metadata { ["file": "\(source.file)", "content": "\(source.current.config.summary)"] }

    private static func problem(of config: WebConfig) -> String? {
        if !config.users.isEmpty {
            return "basic_auth_users: only Muster's endpoint checks them; check passwords in the service's handlers"
        }
        if config.rateLimit != nil {
            return "rate_limit: only Muster's endpoint has one; limit rates in front of the service"
        }
        return nil
    }
}
