// SPDX-License-Identifier: Apache-2.0

/// A key of a web config file and what stands there.
struct YAMLEntry {
    var name: String
    /// The key's line.
    var line: Int
    var value: YAMLNode
}
