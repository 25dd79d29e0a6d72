// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// Checks passwords, one at a time, on a thread that is there only while there are some to check: the endpoint's own
/// thread has probes to answer meanwhile.
///
/// Sound as `@unchecked Sendable`: everything is touched on the endpoint's thread only; the helper merely carries it
/// back there.
final class LoginDesk: @unchecked Sendable {
    /// Compares a password with a hash.
    typealias Check = @Sendable (_ password: [UInt8], _ hash: BcryptHash) -> Bool

    /// What is known of a login.
    enum Answer: Equatable {
        case granted
        case refused
        /// It is being checked; the pending login is told.
        case pending
        /// Too many others wait.
        case busy
    }

    private struct Waiting {
        var user: String
        var hash: BcryptHash
        var logins: [PendingLogin]
    }

    /// How many different passwords may wait to be checked.
    static let queueLimit = 16
    /// How long the helper's thread stays without anything to do.
    private static let keepAlive: Duration = .seconds(10)

    private let loop: EventLoop
    private let check: Check
    private let resume: @Sendable (PendingLogin) -> Void
    private let secret = LoginKey.secret()
    private var users: [String: BcryptHash] = [:]
    private var decoy: BcryptHash?
    private var cache = LoginCache()
    private var waiting: [LoginKey: Waiting] = [:]
    private var helper: EventLoop?

    /// Creates a desk without users.
    ///
    /// - Parameters:
    ///   - loop: The endpoint's loop.
    ///   - check: Compares a password with a hash.
    ///   - resume: Called on the endpoint's loop for each login whose outcome is known now.
    init(
        loop: EventLoop, check: @escaping Check, resume: @escaping @Sendable (PendingLogin) -> Void
    ) {
        self.loop = loop
        self.check = check
        self.resume = resume
    }

    /// Takes other users; what is known of the old ones is forgotten.
    func use(_ users: [String: BcryptHash]) {
        guard users != self.users else { return }
        self.users = users
        decoy = Self.decoy(for: users)
        cache = LoginCache()
    }

    /// Whether there are users, so that everybody has to be one.
    var hasUsers: Bool { !users.isEmpty }

    /// A stranger is compared with something, too, so that the time taken does not tell who is known. It takes what the
    /// costliest user takes.
    private static func decoy(for users: [String: BcryptHash]) -> BcryptHash? {
        users.values.map(\.cost).max().flatMap { BcryptHash.decoy(cost: $0) }
    }

    /// Asks for a login.
    ///
    /// - Parameters:
    ///   - credentials: Name and password.
    ///   - login: Makes what is told when it is known later.
    func ask(_ credentials: BasicCredentials, _ login: () -> PendingLogin) -> Answer {
        guard let hash = users[credentials.user] ?? decoy else { return .refused }
        let key = LoginKey(secret, credentials, hash)
        if let outcome = cache[key] { return outcome ? .granted : .refused }
        if waiting[key] != nil {
            waiting[key]?.logins.append(login())
            return .pending
        }
        guard waiting.count < Self.queueLimit, let helper = openHelper() else { return .busy }
        waiting[key] = Waiting(user: credentials.user, hash: hash, logins: [login()])
        helper.submit { [loop, check, weak self] in
            let isRight = check(credentials.password, hash)
            loop.submit { [weak self] in self?.finish(key, isRight) }
        }
        return .pending
    }

    private func openHelper() -> EventLoop? {
        if let helper { return helper }
        helper = try? EventLoop(
            name: "muster-login",
            starter: { loop in loop.startThread(name: "muster-login", keepAlive: Self.keepAlive) })
        return helper
    }

    private func finish(_ key: LoginKey, _ isRight: Bool) {
        guard let done = waiting.removeValue(forKey: key) else { return }
        // Of the users there are now: the file may have changed meanwhile.
        let isGranted = isRight && users[done.user] == done.hash
        if users[done.user] == done.hash || users[done.user] == nil { cache.remember(key, isGranted) }
        for login in done.logins {
            login.isGranted = isGranted
            resume(login)
        }
    }
}
