// SPDX-License-Identifier: Apache-2.0

/// A header of an answer.
struct ResponseHeader: Hashable, Sendable {
    var name: String
    var value: String
}
