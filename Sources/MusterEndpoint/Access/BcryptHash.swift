// SPDX-License-Identifier: Apache-2.0

/// A bcrypt hash, as `htpasswd -B` writes it.
struct BcryptHash: Hashable {
    /// Higher costs would take the helper thread for longer than a client waits.
    static let highestCost = 16

    let text: String
    /// Each step doubles the work.
    let cost: Int

    /// Reads a hash; `nil` for what is none.
    init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count == 60, text.hasPrefix("$2a$") || text.hasPrefix("$2b$") || text.hasPrefix("$2y$"),
            bytes[6] == UInt8(ascii: "$"), let tens = Self.digit(bytes[4]), let ones = Self.digit(bytes[5]),
            bytes[7...].allSatisfy(Self.isInAlphabet)
        else { return nil }
        let cost = tens * 10 + ones
        guard (4...31).contains(cost) else { return nil }
        self.text = text
        self.cost = cost
    }

    /// A hash that no password is known for, to be compared with when a user is unknown, so that it takes as long.
    ///
    /// - Parameter cost: The cost of the comparison, 4 to 31.
    static func decoy(cost: Int) -> BcryptHash? {
        let digits = (cost < 10 ? "0" : "") + String(cost)
        return BcryptHash("$2y$\(digits)$abcdefghijklmnopqrstu.vwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    }

    private static func digit(_ byte: UInt8) -> Int? {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) ? Int(byte - UInt8(ascii: "0")) : nil
    }

    private static func isInAlphabet(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "/"):
            true
        default: false
        }
    }
}
