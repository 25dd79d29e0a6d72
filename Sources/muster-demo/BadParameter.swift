// SPDX-License-Identifier: Apache-2.0

/// A parameter of a request is missing or not what it should be.
struct BadParameter: Error, CustomStringConvertible {
    let name: String
    let wanted: String

    var description: String { "\(name) must be \(wanted)" }
}
