// SPDX-License-Identifier: Apache-2.0

extension SpawnTarget {
    /// The slot's number; nil for a spare.
    package var slot: Int? {
        switch self {
        case .slot(let worker): worker.slot
        case .spare: nil
        }
    }
}
