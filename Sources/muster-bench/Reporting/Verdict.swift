// SPDX-License-Identifier: Apache-2.0

/// Whether a figure holds its limit.
enum Verdict: String {
    case ok
    case above = "ABOVE"
    case below = "BELOW"
    /// There is no limit.
    case none = ""
}
