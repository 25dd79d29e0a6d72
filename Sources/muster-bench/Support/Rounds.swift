// SPDX-License-Identifier: Apache-2.0

/// Runs several contenders in turns, so that whatever the machine does meanwhile falls on all of them.
enum Rounds {
    /// Runs each contender once a round, in an order that changes from round to round.
    ///
    /// - Parameters:
    ///   - count: How many rounds.
    ///   - contenders: Each measures once.
    /// - Returns: For each contender its measurements, round by round.
    static func run<Measurement>(_ count: Int, _ contenders: [() throws -> Measurement]) throws -> [[Measurement]] {
        var results: [[Measurement]] = Array(repeating: [], count: contenders.count)
        for round in 0..<count {
            let order = contenders.indices.map { ($0 + round) % contenders.count }
            for contender in round.isMultiple(of: 2) ? order : order.reversed() {
                results[contender].append(try contenders[contender]())
            }
        }
        return results
    }
}
