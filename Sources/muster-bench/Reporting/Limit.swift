// SPDX-License-Identifier: Apache-2.0

/// What a figure has to hold on a quiet machine.
enum Limit {
    /// It is told, not judged.
    case none
    case ratioAtMost(Double)
    case ratioAtLeast(Double)
    /// The figure itself, in its unit.
    case valueAtMost(Double)

    func text(in unit: Unit) -> String {
        switch self {
        case .none: ""
        case .ratioAtMost(let limit): "<= \(Text.fixed(limit, digits: 2))x"
        case .ratioAtLeast(let limit): ">= \(Text.fixed(limit, digits: 2))x"
        case .valueAtMost(let limit): "<= \(unit.text(limit))"
        }
    }
}
