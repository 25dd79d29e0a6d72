// SPDX-License-Identifier: Apache-2.0

import MusterHTTP
import MusterPlatform
import Testing

@testable import MusterEndpoint
@testable import MusterHealth

@Suite("Web config file: what it says")
struct WebConfigTests {
    static let hash = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"

    /// Reads a text; the files that it names contain their paths.
    private func read(_ text: String, missing: String = "missing.pem") throws(WebConfigError) -> WebConfig {
        try WebConfigReader.read(file: "/etc/web.yml") { path throws(SmallFile.Failure) in
            if path == "/etc/web.yml" { return Array(text.utf8) }
            if path.hasSuffix(missing) { throw SmallFile.Failure(reason: "No such file or directory") }
            return Array(path.utf8)
        }
    }

    private static let pair = "tls_server_config:\n  cert_file: a\n  key_file: b\n"

    /// Each kind of bad file, and the message about it.
    static let bad: [(text: String, message: String)] = [
        ("a: [", ":1: invalid YAML: did not find expected node content (while parsing a flow node)"),
        (
            "\thello: 1",
            ":1: invalid YAML: found character that cannot start any token (while scanning for the next token)"
        ),
        ("- a", ":1: must be a mapping, not a list"),
        ("hello", ":1: must be a mapping, not a single value"),
        ("a: *b", ":1: aliases (a word with *) are not supported"),

        ("rate_limit:\n  burst: !!int 3", ":2: tags (a word with !) are not supported"),
        ("rate_limit:\n---\nrate_limit:", ":2: a second document begins here; only one is allowed"),
        (
            "basic_auth_user:\n",
            ":1: unknown key 'basic_auth_user'; known keys: basic_auth_users, http_server_config, rate_limit and "
                + "tls_server_config"
        ),
        ("rate_limit:\n# again\nrate_limit:\n", ":3: duplicate key 'rate_limit', first set in line 1"),
        ("[a]: 1", ":1: a key is a list; it must be a string"),
        ("basic_auth_users: 1", ":1: basic_auth_users: must be a mapping, not a single value"),
        (
            "# users\nbasic_auth_users:\n  alice: secret\n",
            ":3: basic_auth_users: the value of 'alice' is not a bcrypt hash ($2y$COST$ and 53 more characters); create one "
                + "with htpasswd -nBC 10 'alice'"
        ),
        (
            "basic_auth_users:\n  alice: [1]\n",
            ":2: basic_auth_users: the value of 'alice' is not a bcrypt hash ($2y$COST$ and 53 more characters); create one "
                + "with htpasswd -nBC 10 'alice'"
        ),
        (
            "basic_auth_users:\n  'a:b': \(hash)\n",
            ":2: basic_auth_users: the name 'a:b' contains a colon, which basic authentication cannot send"
        ),
        (
            "basic_auth_users:\n  alice: \(hash.replacing("$10$", with: "$17$"))\n",
            ":2: basic_auth_users: the hash of 'alice' has cost 17, which takes too long to check; the maximum is 16; "
                + "create one with htpasswd -nBC 10 'alice'"
        ),
        (
            "basic_auth_users:\n  a: \(hash)\n  a: \(hash)\n",
            ":3: basic_auth_users: duplicate key 'a', first set in line 2"
        ),
        (
            "http_server_config:\n  http3: true\n",
            ":2: http_server_config: unknown key 'http3'; known keys: headers and http2"
        ),
        (
            "http_server_config:\n  http2: perhaps\n",
            ":2: http_server_config: http2 must be true or false, without quotes"
        ),
        (
            "http_server_config:\n  headers:\n    Server: x\n",
            ":3: http_server_config: headers: 'Server' cannot be set; allowed headers: Content-Security-Policy, "
                + "Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection"
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: allow\n",
            ":3: http_server_config: headers: X-Frame-Options is 'allow'; it must be 'deny' or 'sameorigin'"
        ),
        (
            "http_server_config:\n  headers:\n    X-XSS-Protection: \"a\\nb\"\n",
            ":3: http_server_config: headers: X-XSS-Protection is empty or contains a control character"
        ),
        (
            "http_server_config:\n  headers:\n    X-XSS-Protection: {a: b}\n",
            ":3: http_server_config: headers: X-XSS-Protection must be a string, not a mapping"
        ),
        (
            "rate_limit:\n  interval: 1 s\n  burst: 1",
            ":2: rate_limit: invalid interval '1 s'; write a duration such as 100ms or 1s"
        ),
        (
            "rate_limit:\n  interval: 1s\n  burst: many",
            ":3: rate_limit: invalid burst 'many'; it must be a whole number from 0 to 1000000"
        ),
        (
            "rate_limit:\n  interval: 1s\n",
            ":2: rate_limit: burst is missing or 0, so no request would be answered; set 1 or more"
        ),
        (
            "tls_server_config:\n  min_version: TLS12\n",
            ":2: tls_server_config: cert or cert_file is missing; TLS needs a certificate"
        ),
        (
            "tls_server_config:\n  cert_file: a\n",
            ":2: tls_server_config: key or key_file is missing; TLS needs a private key"
        ),
        (
            "tls_server_config:\n  cert_file: missing.pem\n  key_file: b\n",
            ":2: tls_server_config: cert_file ('/etc/missing.pem') cannot be read: No such file or directory"
        ),
        (
            pair + "  cert: x\n",
            ":4: tls_server_config: cert conflicts with cert_file ('/etc/a') in line 2; set only one of them"
        ),
        (
            pair + "  cipher: x\n",
            ":4: tls_server_config: unknown key 'cipher'; known keys: cert, cert_file, key, key_file, client_ca, "
                + "client_ca_file, client_auth_type, client_allowed_sans, min_version, max_version, cipher_suites, "
                + "prefer_server_cipher_suites and curve_preferences"
        ),
        (
            pair + "  min_version: 1.2\n",
            ":4: tls_server_config: min_version: unknown value '1.2'; known values: TLS10, TLS11, TLS12, TLS13"
        ),
        (
            pair + "  max_version: TLS11\n", ":4: tls_server_config: min_version TLS12 is above max_version TLS11"
        ),
        (
            pair + "  curve_preferences: [P256]\n",
            ":4: tls_server_config: curve_preferences: unknown value 'P256'; known values: CurveP256, CurveP384, CurveP521, "
                + "X25519"
        ),
        (
            pair + "  curve_preferences: X25519\n",
            ":4: tls_server_config: curve_preferences must be a list, not a single value"
        ),
        (
            pair + "  cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n"
                + "  - TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\n",
            ":4: tls_server_config: cipher_suites: GnuTLS would then also use "
                + "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256; add it, or remove the suites that share its parts"
        ),
        (
            pair + "  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
            ":5: tls_server_config: cipher_suites: none of the suites works with TLS12 to TLS12; add one that does"
        ),
        (
            pair + "  client_auth_type: Always\n",
            ":4: tls_server_config: client_auth_type: unknown value 'Always'; known values: NoClientCert, "
                + "RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"
        ),
        (
            pair + "  client_ca_file: c\n",
            ":4: tls_server_config: client_ca_file ('/etc/c') has no effect without a client_auth_type that requests "
                + "certificates, such as RequireAndVerifyClientCert"
        ),
        (
            pair + "  client_auth_type: RequireAndVerifyClientCert\n",
            ":4: tls_server_config: client_auth_type RequireAndVerifyClientCert requires client_ca or client_ca_file"
        ),
        (
            pair + "  client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [a]\n",
            ":5: tls_server_config: client_allowed_sans requires client_auth_type RequireAndVerifyClientCert: a name in an "
                + "unverified certificate proves nothing"
        ),
        (
            pair + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: c\n  client_allowed_sans: []\n",
            ":6: tls_server_config: client_allowed_sans is empty, so no client could connect"
        ),
    ]

    @Test("A bad one is refused with the line and the reason", arguments: bad)
    func refused(text: String, message: String) {
        let error = #expect(throws: WebConfigError.self) { try read(text) }
        #expect(error?.description == "/etc/web.yml" + message)
    }

    @Test("One that is not there, no text, too long or too deep is refused")
    func unreadable() {
        let absent = #expect(throws: WebConfigError.self) {
            try WebConfigReader.read(file: "/nowhere/web.yml")
        }
        #expect(absent?.description == "/nowhere/web.yml: cannot be read: No such file or directory")
        let folder = #expect(throws: WebConfigError.self) {
            try WebConfigReader.read(file: "/etc")
        }
        #expect(folder?.description == "/etc: cannot be read: not a regular file")
        let binary = #expect(throws: WebConfigError.self) { try YAMLParser.parse([0x61, 0xFF, 0xFE], file: "f") }
        #expect(binary?.description.hasPrefix("f: invalid UTF-8 at byte 1") == true)
        let long = #expect(throws: WebConfigError.self) {
            try YAMLParser.parse(Array(repeating: 0x20, count: YAMLParser.longest + 1), file: "f")
        }
        #expect(long?.description == "f: is longer than 1048576 bytes")
        let deep = #expect(throws: WebConfigError.self) { try read(String(repeating: "[", count: 100_000)) }
        #expect(deep?.description == "/etc/web.yml:1: is nested deeper than 16 levels")
    }

    @Test("Random changes to a good one are accepted or refused, never fatal")
    func mutated() {
        let good = Array(
            (Self.pair + "basic_auth_users:\n  a: \(Self.hash)\nhttp_server_config: {http2: true}\n"
                + "rate_limit: {interval: 1s, burst: 1}\n").utf8)
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let index = Int.random(in: bytes.indices, using: &generator)
                bytes[index] = Array(" \n\t:-[]{}&*!|>'\"%@#,?ab\u{7f}".utf8).randomElement(using: &generator) ?? 0
            }
            _ = try? WebConfigReader.read(file: "f") { path throws(SmallFile.Failure) in path == "f" ? bytes : [] }
        }
    }

    @Test(
        "Nothing in it means nothing is demanded",
        arguments: ["", "# nothing\n", "{}", "tls_server_config:\nbasic_auth_users: ~\n"])
    func empty(text: String) throws {
        let config = try read(text)
        #expect(config.tls == nil)
        #expect(config.users.isEmpty && config.headers.isEmpty && config.rateLimit == nil)
        #expect(config.summary == "no TLS; basic auth: none")
    }

    @Test("All of it is read, and paths are relative to its folder")
    func complete() throws {
        let config = try read(
            """
            tls_server_config:
              cert_file: tls/server.pem
              key: |
                a key
              client_ca_file: /ca.pem
              client_auth_type: RequireAndVerifyClientCert
              client_allowed_sans: [prometheus, 10.0.0.1]
              min_version: TLS13
              prefer_server_cipher_suites: no
              curve_preferences: [X25519, CurveP256]
            http_server_config:
              http2: false
              headers:
                Strict-Transport-Security: max-age=31536000
                X-Frame-Options: deny
            basic_auth_users:
              alice: \(Self.hash)
              "émile": \(Self.hash)
            rate_limit: {interval: 1m30s, burst: 5}
            """)
        let tls = try #require(config.tls)
        #expect(tls.certificate.bytes == Array("/etc/tls/server.pem".utf8))
        #expect(tls.key.bytes == Array("a key\n".utf8))
        #expect(tls.authorities?.bytes == Array("/ca.pem".utf8))
        #expect(tls.clientAuthentication == .requireAndVerify)
        #expect(tls.allowedNames == ["prometheus", "10.0.0.1"])
        #expect(
            tls.priorities == "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1")
        #expect(config.headers.map(\.name) == ["Strict-Transport-Security", "X-Frame-Options"])
        #expect(config.users.keys.sorted() == ["alice", "émile"])
        #expect(config.rateLimit == RateLimit(interval: .seconds(90), burst: 5))
        #expect(!config.asksForHTTP2)
        #expect(
            config.summary
                == "TLS13; client certificates: RequireAndVerifyClientCert; basic auth: 2 users; rate limit: one request per "
                + "90.0 seconds, burst 5; headers: Strict-Transport-Security, X-Frame-Options")
    }

    @Test("Versions and suites are said in GnuTLS' words")
    func priorities() throws {
        #expect(
            try TLSPriorities().text() == "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE")
        #expect(
            try TLSPriorities(
                minimum: .tls10, suites: [.rsaAES128, .rsaAES256CBC, .rsaAES128], prefersServerOrder: false
            ).text()
                == "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:+VERS-TLS1.1:+VERS-TLS1.0:-CIPHER-ALL:+AES-128-GCM:"
                + "+AES-256-CBC:-MAC-ALL:+AEAD:+SHA1:-KX-ALL:+ECDHE-RSA")
        // No suite of the list is one of TLS 1.3, or of anything else.
        #expect(
            try TLSPriorities(suites: [.rsaAES128CBC]).text().hasPrefix("NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER"))
        #expect(try TLSPriorities(suites: [.aes256]).text().hasPrefix("NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER"))
    }

    @Test("Durations are read as Go writes them")
    func durations() {
        #expect(GoDuration.read("100ms") == .milliseconds(100))
        #expect(GoDuration.read("1h1m1.5s") == .milliseconds(3_661_500))
        #expect(GoDuration.read("0") == .zero)
        for text in ["", "1", "s", "1d", "-1s", "1s ", "1..5s", "9999999999h"] { #expect(GoDuration.read(text) == nil) }
    }

    @Test("A bucket gives its burst, then one for each interval")
    func bucket() {
        var bucket = TokenBucket(RateLimit(interval: .seconds(1), burst: 3))
        let start = MonotonicInstant(nanoseconds: 5_000_000_000)
        func take(_ count: Int, after delay: Duration) -> [Bool] {
            (0..<count).map { _ in bucket.take(at: start.advanced(by: delay)) }
        }
        #expect(take(5, after: .zero) == [true, true, true, false, false])
        #expect(take(1, after: .milliseconds(999)) == [false])
        #expect(take(2, after: .seconds(1)) == [true, false])
        #expect(take(4, after: .seconds(100)) == [true, true, true, false])
    }
}
