// SPDX-License-Identifier: Apache-2.0

/// The responses that are the same each time; they are built once.
enum FixedResponse: Int, CaseIterable {
    case healthy
    case notFound
    case methodNotAllowed
    case bodyRefused
    case tooManyExclusions
    case tooManyScrapes
    case noStatus
    case stopping
    case unauthorized
    case tooManyRequests
    case tooManyLogins

    var status: Int {
        switch self {
        case .healthy: 200
        case .notFound: 404
        case .methodNotAllowed: 405
        case .bodyRefused: 413
        case .tooManyExclusions: 400
        case .tooManyScrapes, .stopping, .tooManyLogins: 503
        case .noStatus: 500
        case .unauthorized: 401
        case .tooManyRequests: 429
        }
    }

    var headers: [(name: String, value: String)] {
        switch self {
        case .healthy:
            [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-cache"), ("Vary", "Accept")]
        case .methodNotAllowed: Self.plain + [("Allow", "GET, HEAD")]
        case .tooManyScrapes, .stopping, .tooManyLogins, .tooManyRequests:
            Self.plain + [("Cache-Control", "no-cache"), ("Retry-After", "1")]
        case .unauthorized:
            Self.plain + [("WWW-Authenticate", #"Basic realm="Muster", charset="UTF-8""#)]
        case .notFound, .bodyRefused, .tooManyExclusions, .noStatus: Self.plain
        }
    }

    private static let plain = [(name: "Content-Type", value: "text/plain; charset=utf-8")]

    /// - Parameter configuration: The limits that the texts name.
    func body(_ configuration: EndpointConfiguration) -> String {
        switch self {
        case .healthy: "ok"
        case .notFound: "not found\n"
        case .methodNotAllowed: "only GET and HEAD are served\n"
        case .bodyRefused: "a request body is not accepted here\n"
        case .tooManyExclusions: "more than \(Query.mostExclusions) checks cannot be excluded at once\n"
        case .tooManyScrapes:
            "too many scrapes are under way (the limit is \(configuration.concurrentScrapeLimit)); try again\n"
        case .noStatus: "the status cannot be written\n"
        case .stopping: "the endpoint is stopping\n"
        case .unauthorized: "a user's name and password are required\n"
        case .tooManyRequests: "too many requests; try again\n"
        case .tooManyLogins: "too many passwords wait to be checked; try again\n"
        }
    }
}
