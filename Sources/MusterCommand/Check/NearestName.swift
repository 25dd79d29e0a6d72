// SPDX-License-Identifier: Apache-2.0

/// Finds what somebody may have meant.
enum NearestName {
    /// The name that is nearest to a text, if one is near enough to be meant by it.
    ///
    /// - Parameters:
    ///   - text: What was written.
    ///   - names: What could have been meant.
    static func find(_ text: String, among names: some Sequence<String>) -> String? {
        let limit = max(1, min(4, text.count / 4))
        var best: (name: String, distance: Int)?
        for name in names.sorted() where abs(name.count - text.count) <= limit {
            let distance = distance(Array(text.unicodeScalars), Array(name.unicodeScalars))
            if distance <= limit, distance < best?.distance ?? .max { best = (name, distance) }
        }
        return best?.name
    }

    /// How many single changes make one text the other: a character more, less, another one, or two that have
    /// changed places (optimal string alignment).
    static func distance(_ one: [Unicode.Scalar], _ other: [Unicode.Scalar]) -> Int {
        var beforeLast: [Int] = []
        var last = Array(0...other.count)
        for (row, scalar) in one.enumerated() {
            var current = [row + 1]
            for (column, candidate) in other.enumerated() {
                var cost = min(last[column + 1] + 1, current[column] + 1, last[column] + (scalar == candidate ? 0 : 1))
                if row > 0, column > 0, scalar == other[column - 1], one[row - 1] == candidate {
                    cost = min(cost, beforeLast[column - 1] + 1)
                }
                current.append(cost)
            }
            (beforeLast, last) = (last, current)
        }
        return last[other.count]
    }
}
