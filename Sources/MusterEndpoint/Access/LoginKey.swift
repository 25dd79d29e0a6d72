// SPDX-License-Identifier: Apache-2.0

import CGnuTLS

/// What stands for a user, the hash and the password that was tried in memory: a digest with a key that only this
/// process knows, so that nothing in a core file can be tried out at leisure.
struct LoginKey: Hashable {
    private let digest: [UInt8]

    /// Digests them.
    ///
    /// - Parameters:
    ///   - secret: The process' key.
    ///   - credentials: Name and password.
    ///   - hash: What the password is compared with.
    init(_ secret: [UInt8], _ credentials: BasicCredentials, _ hash: BcryptHash) {
        // The hash has always the same length, and a name has no colon, so no two meanings have the same bytes.
        let text = Array(hash.text.utf8) + Array(credentials.user.utf8) + [UInt8(ascii: ":")] + credentials.password
        var digest = [UInt8](repeating: 0, count: 32)
        let code =
            cgnutls_load() == nil
            ? gnutls_hmac_fast(GNUTLS_MAC_SHA256, secret, secret.count, text, text.count, &digest) : -1
        // Without a digest nothing is remembered: this one is equal to no other.
        self.digest = code == 0 ? digest : Self.secret()
    }

    /// Random bytes from the kernel.
    static func secret() -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<32).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }
}
