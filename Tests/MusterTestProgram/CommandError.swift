// SPDX-License-Identifier: Apache-2.0

/// What the program was told to fail with.
struct CommandError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
