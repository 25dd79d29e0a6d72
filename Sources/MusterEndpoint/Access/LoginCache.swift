// SPDX-License-Identifier: Apache-2.0

/// The outcomes of the last logins, so that a scraper's password is computed once. Those that failed have a room of
/// their own: guessing pushes nobody out who belongs here.
struct LoginCache {
    /// How many of each outcome are remembered.
    static let capacity = 64

    private var outcomes: [LoginKey: Bool] = [:]
    private var granted: [LoginKey] = []
    private var refused: [LoginKey] = []

    /// The outcome; `nil` when it is not remembered.
    subscript(key: LoginKey) -> Bool? { outcomes[key] }

    /// Remembers an outcome, and forgets the oldest one of its kind for it.
    mutating func remember(_ key: LoginKey, _ isGranted: Bool) {
        guard outcomes[key] == nil else { return }
        outcomes[key] = isGranted
        let oldest = isGranted ? Self.add(key, to: &granted) : Self.add(key, to: &refused)
        if let oldest { outcomes[oldest] = nil }
    }

    private static func add(_ key: LoginKey, to keys: inout [LoginKey]) -> LoginKey? {
        keys.append(key)
        return keys.count > capacity ? keys.removeFirst() : nil
    }
}
