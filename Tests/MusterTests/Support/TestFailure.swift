// SPDX-License-Identifier: Apache-2.0

/// An error of the tests' own.
struct TestFailure: Error, Hashable, CustomStringConvertible {
    let description: String

    init(_ description: String = "deliberate") {
        self.description = description
    }
}
