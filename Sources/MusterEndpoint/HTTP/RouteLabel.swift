// SPDX-License-Identifier: Apache-2.0

/// A route's name in metrics.
enum RouteLabel: Int, CaseIterable {
    case index
    case status
    case metrics
    case live
    case ready
    case startup
    case other

    var text: String {
        switch self {
        case .index: "/"
        case .status: "/status"
        case .metrics: "/metrics"
        case .live: "/livez"
        case .ready: "/readyz"
        case .startup: "/startupz"
        case .other: "other"
        }
    }
}
