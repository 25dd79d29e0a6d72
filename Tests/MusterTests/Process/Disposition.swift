// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster

/// What the process does at a signal.
enum Disposition: Hashable, Sendable {
    case byDefault
    case ignored
    case handled

    init(of signal: UnixSignal) {
        var action = sigaction()
        sigaction(signal.rawValue, nil, &action)
        switch unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) {
        case 0: self = .byDefault
        case 1: self = .ignored
        default: self = .handled
        }
    }
}
