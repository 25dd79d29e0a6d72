// SPDX-License-Identifier: Apache-2.0

/// Something that the measurement needs is not there.
struct BenchmarkSkipped: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
