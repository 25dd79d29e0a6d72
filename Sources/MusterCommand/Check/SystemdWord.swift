// SPDX-License-Identifier: Apache-2.0

/// Words that units use.
enum SystemdWord {
    /// Whether a value means yes.
    static func isTrue(_ value: String) -> Bool { ["1", "yes", "true", "on", "y", "t"].contains(value.lowercased()) }
}
