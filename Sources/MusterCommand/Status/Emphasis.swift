// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint

extension ServiceState {
    var emphasis: Style.Emphasis {
        switch self {
        case .ready: .good
        case .failing: .bad
        case .degraded, .unready, .starting, .stopping: .doubtful
        }
    }
}

extension CheckState {
    var emphasis: Style.Emphasis? {
        switch self {
        case .pass: .good
        case .warn: .doubtful
        case .fail: .bad
        case .unknown: nil
        }
    }
}

extension WorkerState {
    var emphasis: Style.Emphasis {
        switch self {
        case .ready: .good
        case .hung: .bad
        case .starting, .stopping, .backoff: .doubtful
        case .finished: .quiet
        }
    }
}
