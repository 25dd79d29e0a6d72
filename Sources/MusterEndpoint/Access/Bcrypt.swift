// SPDX-License-Identifier: Apache-2.0

import CCrypt

/// Compares passwords with their hashes, by libcrypt.
enum Bcrypt {
    /// Whether a password is the one that a hash was made of. Takes long, on purpose: some 0.3 s at cost 12.
    static func matches(_ password: [UInt8], _ hash: BcryptHash) -> Bool {
        computed(password, like: hash).map { areEqual($0, Array(hash.text.utf8)) } ?? false
    }

    /// The hash of a password with the cost and the salt of another hash; `nil` for a password that has none.
    static func computed(_ password: [UInt8], like hash: BcryptHash) -> [UInt8]? {
        // libcrypt sees the password up to a zero byte, and would so take others for it.
        guard !password.contains(0) else { return nil }
        var room = [UInt8](repeating: 0, count: Int(ccrypt_room()))
        var phrase = password + [0]
        defer {
            for index in phrase.indices { phrase[index] = 0 }
        }
        return phrase.withUnsafeBytes { phrase in
            guard let base = phrase.baseAddress else { return nil }
            return room.withUnsafeMutableBytes { room in
                crypt_rn(base.assumingMemoryBound(to: CChar.self), hash.text, room.baseAddress, ccrypt_room())
                    .map { Array(String(cString: $0).utf8) }
            }
        }
    }

    /// Compares without telling by its duration where the difference is.
    static func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        guard left.count == right.count else { return false }
        var difference: UInt8 = 0
        for index in left.indices { difference |= left[index] ^ right[index] }
        return difference == 0
    }
}
