// SPDX-License-Identifier: Apache-2.0

/// How long to measure.
enum Effort {
    case full
    case quick

    /// Chooses by effort.
    func callAsFunction<Value>(_ full: Value, quick: Value) -> Value {
        switch self {
        case .full: full
        case .quick: quick
        }
    }
}
