// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("Web config file: users and passwords")
struct CredentialsTests {
    /// Of "secret", with cost 4.
    static let secret = "$2y$04$ySl08LXAt5NINSacYkRMquvUu2otu2o88hhb6JpPYIKcVzVbMwo.K"

    @Test("Name and password are read, colons and UTF-8 included")
    func read() throws {
        let plain = try #require(BasicCredentials("Basic YWxpY2U6c2VjcmV0"))
        #expect(plain.user == "alice" && plain.password == Array("secret".utf8))
        // émile:a:ß
        let other = try #require(BasicCredentials("bAsIc   w6ltaWxlOmE6w58="))
        #expect(other.user == "émile" && other.password == Array("a:ß".utf8))
        let empty = try #require(BasicCredentials("Basic Og=="))
        #expect(empty.user == "" && empty.password.isEmpty)
    }

    @Test(
        "What is none is refused",
        arguments: [
            "", "Basic", "Basic ", "Basic YQ==", "Bearer YWxpY2U6c2VjcmV0", "Basic YWxpY2U6c2VjcmV", "Basic ====",
            "Basic Y=WxpY2U6c2VjcmV0", "Basic YWxpY2U6c2VjcmV0 ", "Basic /zph", "Basic YWxp\u{0}Y2U6",
        ])
    func unreadable(header: String) {
        #expect(BasicCredentials(header) == nil)
    }

    @Test("libcrypt finds the right password right, and no other")
    func bcrypt() throws {
        let hash = try #require(BcryptHash(Self.secret))
        #expect(hash.cost == 4)
        #expect(Bcrypt.matches(Array("secret".utf8), hash))
        for wrong in ["", "Secret", "secret ", "secre", "secret\u{0}", String(repeating: "x", count: 10_000)] {
            #expect(!Bcrypt.matches(Array(wrong.utf8), hash))
        }
    }

    @Test("A stranger's hash is one, of the cost asked for, and nobody's")
    func decoy() throws {
        for cost in [4, 10, 16] { #expect(BcryptHash.decoy(cost: cost)?.cost == cost) }
        let decoy = try #require(BcryptHash.decoy(cost: 4))
        // It is really computed: that is what it is for.
        #expect(Bcrypt.computed(Array("secret".utf8), like: decoy)?.count == 60)
        #expect(!Bcrypt.matches(Array("secret".utf8), decoy))
        #expect(BcryptHash.decoy(cost: 3) == nil)
    }

    @Test("What is remembered of logins is bounded, and those that fail push out none that succeed")
    func cache() throws {
        var cache = LoginCache()
        let hash = try #require(BcryptHash(Self.secret))
        let secret = LoginKey.secret()
        func key(_ number: Int) -> LoginKey? {
            BasicCredentials("Basic YWxpY2U6c2VjcmV0").map {
                var credentials = $0
                credentials.password = Array("\(number)".utf8)
                return LoginKey(secret, credentials, hash)
            }
        }
        let right = try #require(key(-1))
        #expect(right == key(-1) && right != key(0))
        cache.insert(right, true)
        for number in 0..<200 { cache.insert(try #require(key(number)), false) }
        #expect(cache[right] == true)
        #expect((0..<200).filter { key($0).flatMap { cache[$0] } != nil }.count == LoginCache.capacity)
        #expect(try cache[#require(key(199))] == false)
    }
}
