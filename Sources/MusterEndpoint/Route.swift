// SPDX-License-Identifier: Apache-2.0

import MusterHTTP
import MusterHealth

/// What a path asks for.
enum Route: Equatable {
    case index
    case status
    case metrics
    /// A level's checks, or one of them. `endpointName` is as the path spells it.
    case health(HealthLevel, endpointName: String, check: String?)
    case unknown

    /// Reads a path.
    init(path: String) {
        switch path {
        case "/": self = .index
        case "/metrics": self = .metrics
        case "/status": self = .status
        default:
            self = .unknown
            for (name, level) in Self.endpoints where path.hasPrefix("/\(name)") {
                let rest = path.dropFirst(name.count + 1)
                if rest.isEmpty {
                    self = .health(level, endpointName: name, check: nil)
                } else if rest.first == "/", rest.count > 1, !rest.dropFirst().contains("/") {
                    self = .health(level, endpointName: name, check: String(rest.dropFirst()))
                }
                return
            }
        }
    }

    /// `healthz` is the oldest of them, and means the same as `livez`.
    static let endpoints: [(name: String, level: HealthLevel)] = [
        ("livez", .live), ("readyz", .ready), ("startupz", .startup), ("healthz", .live),
    ]

    /// The route's name in metrics; there are a few of them only, whatever is asked for.
    var label: RouteLabel {
        switch self {
        case .index: .index
        case .status: .status
        case .metrics: .metrics
        case .health(let level, _, _): Self.label(of: level)
        case .unknown: .other
        }
    }

    /// Whether it is a probe of health.
    var isProbe: Bool { if case .health = self { true } else { false } }

    /// A level's route in metrics.
    static func label(of level: HealthLevel) -> RouteLabel {
        switch level {
        case .live: .live
        case .ready: .ready
        case .startup: .startup
        }
    }
}

/// The arguments of a request that mean something to the endpoint.
struct Query {
    /// More exclusions than this are refused.
    static let mostExclusions = 100

    /// Whether `verbose` is there, with or without a value.
    var isVerbose = false
    /// The values of `exclude`, each once.
    var excluded: [String] = []
    /// The values of `name[]`.
    var names: Set<String> = []
    /// Whether there are more exclusions than allowed.
    var isExcessive = false

    init(_ request: TransportRequest) {
        for (name, value) in request.arguments { add(name, value) }
    }

    private mutating func add(_ name: String, _ value: String?) {
        switch name {
        case "verbose":
            isVerbose = true
        case "exclude":
            guard let value, !excluded.contains(value) else { return }
            if excluded.count < Self.mostExclusions { excluded.append(value) } else { isExcessive = true }
        case "name[]":
            if let value { names.insert(value) }
        default:
            break
        }
    }
}
