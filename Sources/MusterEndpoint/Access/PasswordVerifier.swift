// SPDX-License-Identifier: Apache-2.0

import CCrypt
import CGnuTLS
import FoundationEssentials
import MusterHTTP
import MusterPlatform

/// Checks passwords, one at a time, on a thread that is there only while there are some to check: the endpoint's own
/// thread has probes to answer meanwhile.
///
/// Sound as `@unchecked Sendable`: everything is touched on the endpoint's thread only; the helper merely carries it
/// back there.
final class PasswordVerifier: @unchecked Sendable {
    /// Compares a password with a hash.
    typealias Check = @Sendable (_ password: [UInt8], _ hash: BcryptHash) -> Bool

    enum Outcome: Equatable {
        case granted
        case refused
        /// It is being checked; the pending login is resumed later.
        case pending
        /// Too many others wait.
        case busy
    }

    private struct Waiting {
        var user: String
        var hash: BcryptHash
        var logins: [HTTPSuspension]
    }

    /// How many different passwords may wait to be checked.
    static let queueLimit = 16
    /// How long the helper's thread stays without anything to do.
    private static let keepAlive: Duration = .seconds(10)

    private let loop: EventLoop
    private let check: Check
    /// Called on the endpoint's loop for each suspended request whose outcome is known now.
    var resume: (HTTPSuspension, _ isGranted: Bool) -> Void = { _, _ in }
    private let secret = LoginKey.secret()
    private var users: [String: BcryptHash] = [:]
    private var decoy: BcryptHash?
    private var cache = LoginCache()
    private var waiting: [LoginKey: Waiting] = [:]
    private var helper: EventLoop?

    init(loop: EventLoop, check: @escaping Check) {
        self.loop = loop
        self.check = check
    }

    /// Replaces the users, and forgets the outcomes for the old ones.
    func setUsers(_ users: [String: BcryptHash]) {
        guard users != self.users else { return }
        self.users = users
        decoy = Self.decoy(for: users)
        cache = LoginCache()
    }

    /// Whether requests need a user at all.
    var hasUsers: Bool { !users.isEmpty }

    /// An unknown user's password is compared with this hash, so that the time taken does not reveal which users exist.
    /// It has the cost of the costliest user.
    private static func decoy(for users: [String: BcryptHash]) -> BcryptHash? {
        users.values.map(\.cost).max().flatMap { BcryptHash.decoy(cost: $0) }
    }

    /// Verifies a name and a password.
    func verify(_ credentials: BasicCredentials, _ suspend: () -> HTTPSuspension) -> Outcome {
        guard let hash = users[credentials.user] ?? decoy else { return .refused }
        let key = LoginKey(secret, credentials, hash)
        if let outcome = cache[key] { return outcome ? .granted : .refused }
        if waiting[key] != nil {
            waiting[key]?.logins.append(suspend())
            return .pending
        }
        guard waiting.count < Self.queueLimit, let helper = openHelper() else { return .busy }
        waiting[key] = Waiting(user: credentials.user, hash: hash, logins: [suspend()])
        helper.submit { [loop, check, weak self] in
            let isRight = check(credentials.password, hash)
            loop.submit { [weak self] in self?.finish(key, isRight) }
        }
        return .pending
    }

    private func openHelper() -> EventLoop? {
        if let helper { return helper }
        helper = try? EventLoop.helper(name: "muster-login", keepAlive: Self.keepAlive, or: loop)
        return helper
    }

    private func finish(_ key: LoginKey, _ isRight: Bool) {
        guard let done = waiting.removeValue(forKey: key) else { return }
        // Of the users there are now: the file may have changed meanwhile.
        let isGranted = isRight && users[done.user] == done.hash
        if users[done.user] == done.hash || users[done.user] == nil { cache.insert(key, isGranted) }
        for login in done.logins { resume(login, isGranted) }
    }
}

/// The outcomes of the last logins, so that a scraper's password is computed once. Those that failed have a room of
/// their own: failed attempts do not push out successful ones.
struct LoginCache {
    /// How many of each outcome are remembered.
    static let capacity = 64

    private var outcomes: [LoginKey: Bool] = [:]
    private var granted: [LoginKey] = []
    private var refused: [LoginKey] = []

    /// The outcome; `nil` when it is not remembered.
    subscript(key: LoginKey) -> Bool? { outcomes[key] }

    /// Adds an outcome, in place of the oldest one of its kind.
    mutating func insert(_ key: LoginKey, _ isGranted: Bool) {
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

/// What stands for a user, the hash and the password that was tried in memory: a digest with a key that only this
/// process knows, so that nothing in a core file can be tried out at leisure.
struct LoginKey: Hashable {
    private let digest: [UInt8]

    /// Digests them.
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

/// A user's name and password as a request brings them (RFC 7617). Bytes, because nobody says how they are encoded.
struct BasicCredentials {
    /// The name; what is no UTF-8 is no name of a file.
    var user: String
    var password: [UInt8]

    /// Reads the header `Authorization`; `nil` for another scheme, or for what cannot be read.
    init?(_ header: String) {
        let bytes = Array(header.utf8)
        guard bytes.count > 6, header.prefix(6).lowercased() == "basic " else { return nil }
        let encoded = bytes.dropFirst(6).drop { $0 == UInt8(ascii: " ") }
        guard let decoded = Data(base64Encoded: Data(encoded)),
            let colon = decoded.firstIndex(of: UInt8(ascii: ":")),
            let user = String(validating: decoded[..<colon], as: UTF8.self)
        else { return nil }
        self.user = user
        password = Array(decoded[(colon + 1)...])
    }
}

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
