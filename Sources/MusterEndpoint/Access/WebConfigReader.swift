// SPDX-License-Identifier: Apache-2.0

import MusterHTTP
import MusterPlatform

/// Makes a web config of a file's text. Pure but for the files that it names, and those are read by a function that
/// is handed in.
///
/// The keys and their meaning are exporter-toolkit's ("web configuration"); what that takes silently although it cannot
/// be meant is refused here.
struct WebConfigReader {
    /// Reads a file's bytes.
    typealias ReadFile = (_ path: String) throws(SmallFile.Failure) -> [UInt8]

    let file: String
    let readFile: ReadFile

    /// Reads a web config file and the files that it names.
    static func read(
        file: String,
        with readFile: @escaping ReadFile = { path throws(SmallFile.Failure) in
            try SmallFile.read(path, mustBeRegular: true)
        }
    ) throws(WebConfigError) -> WebConfig {
        let bytes: [UInt8]
        do {
            bytes = try readFile(file)
        } catch {
            throw WebConfigError(file: file, line: nil, reason: "cannot be read: \(error.reason)")
        }
        let root = try YAMLParser.parse(bytes, file: file)
        return try WebConfigReader(file: file, readFile: readFile).config(root)
    }

    private func config(_ root: YAMLNode?) throws(WebConfigError) -> WebConfig {
        var tls: TLSSettings?
        var headers: [ResponseHeader] = []
        var users: [String: BcryptHash] = [:]
        var rateLimit: RateLimit?
        var asksForHTTP2 = false
        var waivers: Set<WebConfig.Demand> = []
        for entry in try root.map({ root throws(WebConfigError) in try keys(of: root, in: nil) }) ?? [] {
            switch entry.name {
            case "tls_server_config":
                tls = try self.tls(entry.value)
                // A key without a value may be the last thing that has been written so far; `{}` is meant.
                if tls == nil, !entry.value.isNull { waivers.insert(.tls) }
                if try keys(of: entry.value, in: entry.name).contains(where: { $0.name == "client_auth_type" }) {
                    waivers.insert(.clientCertificates)
                }
            case "http_server_config": (headers, asksForHTTP2) = try http(entry.value)
            case "basic_auth_users":
                users = try self.users(entry.value)
                if users.isEmpty, !entry.value.isNull { waivers.insert(.users) }
            case "rate_limit": rateLimit = try self.rateLimit(entry.value)
            default:
                throw unknown(
                    entry, in: nil, known: "basic_auth_users, http_server_config, rate_limit and tls_server_config")
            }
        }
        return WebConfig(
            file: file, tls: tls, headers: headers, users: users, rateLimit: rateLimit, asksForHTTP2: asksForHTTP2,
            waivers: waivers)
    }

    // MARK: Users

    private func users(_ node: YAMLNode) throws(WebConfigError) -> [String: BcryptHash] {
        var users: [String: BcryptHash] = [:]
        for entry in try keys(of: node, in: "basic_auth_users") {
            let name = entry.name
            let remedy = "create one with htpasswd -nBC 10 '\(name)'"
            guard !name.utf8.contains(UInt8(ascii: ":")) else {
                throw fail(
                    entry.line,
                    "basic_auth_users: the name '\(name)' contains a colon, which basic authentication cannot send")
            }
            guard case .scalar(let text, _) = entry.value.content, let hash = BcryptHash(text) else {
                throw fail(
                    entry.value.line,
                    "basic_auth_users: the value of '\(name)' is not a bcrypt hash ($2y$COST$ and 53 more characters); "
                        + remedy)
            }
            guard hash.cost <= BcryptHash.highestCost else {
                throw fail(
                    entry.value.line,
                    "basic_auth_users: the hash of '\(name)' has cost \(hash.cost), which takes too long to check; "
                        + "the maximum is \(BcryptHash.highestCost); \(remedy)")
            }
            users[name] = hash
        }
        return users
    }

    // MARK: Headers

    /// The headers that may be set, and the values that some of them are limited to.
    private static let permitted: [(name: String, values: [String])] = [
        ("Content-Security-Policy", []), ("Strict-Transport-Security", []), ("X-Content-Type-Options", ["nosniff"]),
        ("X-Frame-Options", ["deny", "sameorigin"]), ("X-XSS-Protection", []),
    ]

    private func http(_ node: YAMLNode) throws(WebConfigError) -> ([ResponseHeader], Bool) {
        let group = "http_server_config"
        var headers: [ResponseHeader] = []
        var asksForHTTP2 = false
        for entry in try keys(of: node, in: group) {
            switch entry.name {
            case "http2": asksForHTTP2 = try boolean(entry, in: group)
            case "headers":
                for header in try keys(of: entry.value, in: "\(group): headers") {
                    headers.append(try self.header(header))
                }
            default: throw unknown(entry, in: group, known: "headers and http2")
            }
        }
        return (headers, asksForHTTP2)
    }

    private func header(_ entry: YAMLEntry) throws(WebConfigError) -> ResponseHeader {
        let group = "http_server_config: headers"
        guard let rule = Self.permitted.first(where: { $0.name == entry.name }) else {
            throw fail(
                entry.line,
                "\(group): '\(entry.name)' cannot be set; allowed headers: "
                    + Self.permitted.map(\.name).joined(separator: ", "))
        }
        let value = try text(entry, in: group)
        guard rule.values.isEmpty || rule.values.contains(value) else {
            let values = rule.values.map { "'\($0)'" }.joined(separator: " or ")
            throw fail(entry.value.line, "\(group): \(entry.name) is '\(value)'; it must be \(values)")
        }
        guard !value.isEmpty, value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw fail(
                entry.value.line, "\(group): \(entry.name) is empty or contains a control character")
        }
        return ResponseHeader(name: rule.name, value: value)
    }

    // MARK: Rate limit

    private func rateLimit(_ node: YAMLNode) throws(WebConfigError) -> RateLimit? {
        let group = "rate_limit"
        var interval = Duration.zero
        var burst: Int?
        for entry in try keys(of: node, in: group) {
            let text = try text(entry, in: group)
            switch entry.name {
            case "interval":
                guard let read = GoDuration.read(text) else {
                    throw fail(
                        entry.value.line, "\(group): invalid interval '\(text)'; write a duration such as 100ms or 1s")
                }
                interval = read
            case "burst":
                guard let read = Int(text), (0...1_000_000).contains(read) else {
                    throw fail(
                        entry.value.line,
                        "\(group): invalid burst '\(text)'; it must be a whole number from 0 to 1000000")
                }
                burst = read
            default: throw unknown(entry, in: group, known: "burst and interval")
            }
        }
        guard interval > .zero else { return nil }
        guard let burst, burst > 0 else {
            throw fail(
                node.line, "\(group): burst is missing or 0, so no request would be answered; set 1 or more")
        }
        return RateLimit(interval: interval, burst: burst)
    }
}

extension WebConfigReader {
    private static let group = "tls_server_config"

    /// The values of `tls_server_config` as they stand there, with their lines.
    private struct Values {
        var certificate: TLSSettings.Material?
        var key: TLSSettings.Material?
        var authorities: TLSSettings.Material?
        var clientAuthentication = ClientAuthentication.none
        var clientAuthenticationLine: Int?
        var allowedNames: [String]?
        var allowedNamesLine: Int?
        var priorities = TLSPriorities()
        var maximumLine: Int?
        var minimumLine: Int?
        var suitesLine: Int?
    }

    /// Reads `tls_server_config`; `nil` when nothing is in it.
    func tls(_ node: YAMLNode) throws(WebConfigError) -> TLSSettings? {
        let entries = try keys(of: node, in: Self.group)
        if entries.isEmpty { return nil }
        var values = Values()
        for entry in entries { try read(entry, into: &values) }
        return try settings(values, line: node.line)
    }

    private func read(_ entry: YAMLEntry, into values: inout Values) throws(WebConfigError) {
        switch entry.name {
        case "cert", "cert_file": try read(entry, into: &values.certificate)
        case "key", "key_file": try read(entry, into: &values.key)
        case "client_ca", "client_ca_file": try read(entry, into: &values.authorities)
        case "client_auth_type":
            let text = try text(entry, in: Self.group)
            values.clientAuthenticationLine = entry.value.line
            switch text {
            case "": values.clientAuthentication = .none
            // An older name, which exporter-toolkit still knows.
            case "RequireClientCert": values.clientAuthentication = .requireAny
            default:
                values.clientAuthentication = try choice(text, line: entry.value.line, entry.name, in: Self.group)
            }
        case "client_allowed_sans":
            values.allowedNames = try list(entry, in: Self.group).map(\.text)
            values.allowedNamesLine = entry.line
        case "min_version":
            values.priorities.minimum = try choice(
                text(entry, in: Self.group), line: entry.value.line, entry.name, in: Self.group)
            values.minimumLine = entry.value.line
        case "max_version":
            values.priorities.maximum = try choice(
                text(entry, in: Self.group), line: entry.value.line, entry.name, in: Self.group)
            values.maximumLine = entry.value.line
        case "cipher_suites":
            for item in try list(entry, in: Self.group) {
                values.priorities.suites.append(try choice(item.text, line: item.line, entry.name, in: Self.group))
            }
            values.suitesLine = entry.line
        case "curve_preferences":
            for item in try list(entry, in: Self.group) {
                values.priorities.curves.append(try choice(item.text, line: item.line, entry.name, in: Self.group))
            }
        case "prefer_server_cipher_suites":
            values.priorities.prefersServerOrder = try boolean(entry, in: Self.group)
        default:
            throw unknown(
                entry, in: Self.group,
                known: "cert, cert_file, key, key_file, client_ca, client_ca_file, client_auth_type, "
                    + "client_allowed_sans, min_version, max_version, cipher_suites, prefer_server_cipher_suites and "
                    + "curve_preferences")
        }
    }

    /// Reads what is in PEM form, from the file itself or from one that it names.
    private func read(_ entry: YAMLEntry, into material: inout TLSSettings.Material?) throws(WebConfigError) {
        let text = try text(entry, in: Self.group)
        if text.isEmpty { return }
        if let other = material {
            throw fail(
                entry.line,
                "\(Self.group): \(entry.name) conflicts with \(other.origin) in line \(other.line); set only one of them"
            )
        }
        guard entry.name.hasSuffix("_file") else {
            material = TLSSettings.Material(origin: entry.name, bytes: Array(text.utf8), line: entry.line)
            return
        }
        guard !text.utf8.contains(0) else { throw fail(entry.value.line, "\(Self.group): \(entry.name) is not a path") }
        let path = resolve(text)
        let origin = "\(entry.name) ('\(path)')"
        do {
            material = TLSSettings.Material(origin: origin, bytes: try readFile(path), line: entry.line)
        } catch {
            throw fail(entry.value.line, "\(Self.group): \(origin) cannot be read: \(error.reason)")
        }
    }

    /// A path of the file, which is relative to the file's folder.
    private func resolve(_ path: String) -> String {
        guard !path.hasPrefix("/"), let slash = file.lastIndex(of: "/") else { return path }
        return String(file[...slash]) + path
    }

    private func settings(_ values: Values, line: Int) throws(WebConfigError) -> TLSSettings {
        guard let certificate = values.certificate else {
            throw fail(line, "\(Self.group): cert or cert_file is missing; TLS needs a certificate")
        }
        guard let key = values.key else {
            throw fail(line, "\(Self.group): key or key_file is missing; TLS needs a private key")
        }
        guard values.priorities.minimum <= values.priorities.maximum else {
            throw fail(
                values.maximumLine ?? values.minimumLine,
                "\(Self.group): min_version \(values.priorities.minimum.rawValue) is above max_version "
                    + values.priorities.maximum.rawValue)
        }
        try checkClients(values)
        let priorities: String
        do {
            priorities = try values.priorities.text()
        } catch {
            throw fail(values.suitesLine, "\(Self.group): cipher_suites: \(error.reason)")
        }
        return TLSSettings(
            certificate: certificate, key: key, authorities: values.authorities,
            clientAuthentication: values.clientAuthentication, allowedNames: values.allowedNames,
            minimum: values.priorities.minimum, maximum: values.priorities.maximum, priorities: priorities)
    }

    private func checkClients(_ values: Values) throws(WebConfigError) {
        let policy = values.clientAuthentication
        if let authorities = values.authorities, policy == .none {
            throw fail(
                authorities.line,
                "\(Self.group): \(authorities.origin) has no effect without a client_auth_type that requests certificates, "
                    + "such as RequireAndVerifyClientCert")
        }
        if policy.isVerified, values.authorities == nil {
            throw fail(
                values.clientAuthenticationLine,
                "\(Self.group): client_auth_type \(policy.rawValue) requires client_ca or client_ca_file")
        }
        if let names = values.allowedNames {
            guard policy == .requireAndVerify else {
                throw fail(
                    values.allowedNamesLine,
                    "\(Self.group): client_allowed_sans requires client_auth_type RequireAndVerifyClientCert: a name in an "
                        + "unverified certificate proves nothing")
            }
            guard !names.isEmpty else {
                throw fail(
                    values.allowedNamesLine, "\(Self.group): client_allowed_sans is empty, so no client could connect")
            }
        }
    }
}

extension WebConfigReader {
    /// An error of this file.
    func fail(_ line: Int?, _ reason: String) -> WebConfigError {
        WebConfigError(file: file, line: line, reason: reason)
    }

    /// The keys of a group, each of which may occur once.
    ///
    /// - Parameters:
    ///   - node: The group; nothing is an empty one.
    ///   - group: Its name; `nil` for the whole file.
    func keys(of node: YAMLNode, in group: String?) throws(WebConfigError) -> [YAMLEntry] {
        if node.isNull { return [] }
        guard case .mapping(let pairs) = node.content else {
            throw fail(node.line, prefix(group) + "must be a mapping, not \(node.kind)")
        }
        var entries: [YAMLEntry] = []
        for (key, value) in pairs {
            guard case .scalar(let name, _) = key.content else {
                throw fail(key.line, prefix(group) + "a key is \(key.kind); it must be a string")
            }
            if let first = entries.first(where: { $0.name == name }) {
                throw fail(
                    key.line, prefix(group) + "duplicate key '\(name)', first set in line \(first.line)")
            }
            entries.append(YAMLEntry(name: name, line: key.line, value: value))
        }
        return entries
    }

    /// An error about a key that means nothing.
    func unknown(_ entry: YAMLEntry, in group: String?, known: String) -> WebConfigError {
        fail(entry.line, prefix(group) + "unknown key '\(entry.name)'; known keys: \(known)")
    }

    private func prefix(_ group: String?) -> String {
        group.map { $0 + ": " } ?? ""
    }

    /// A value that is text; nothing is the empty one.
    func text(_ entry: YAMLEntry, in group: String) throws(WebConfigError) -> String {
        if entry.value.isNull { return "" }
        guard case .scalar(let text, _) = entry.value.content else {
            throw fail(entry.value.line, "\(group): \(entry.name) must be a string, not \(entry.value.kind)")
        }
        return text
    }

    /// A value that is true or false, in the words that YAML 1.1 has for it.
    func boolean(_ entry: YAMLEntry, in group: String) throws(WebConfigError) -> Bool {
        if entry.value.isNull { return false }
        if case .scalar(let text, isPlain: true) = entry.value.content {
            switch text.lowercased() {
            case "true", "yes", "on", "y": return true
            case "false", "no", "off", "n": return false
            default: break
            }
        }
        throw fail(entry.value.line, "\(group): \(entry.name) must be true or false, without quotes")
    }

    /// A list of texts, each with its line.
    func list(_ entry: YAMLEntry, in group: String) throws(WebConfigError) -> [(text: String, line: Int)] {
        if entry.value.isNull { return [] }
        guard case .sequence(let nodes) = entry.value.content else {
            throw fail(entry.value.line, "\(group): \(entry.name) must be a list, not \(entry.value.kind)")
        }
        var texts: [(text: String, line: Int)] = []
        for node in nodes {
            guard case .scalar(let text, _) = node.content else {
                throw fail(node.line, "\(group): \(entry.name) contains \(node.kind); only strings are allowed")
            }
            texts.append((text, node.line))
        }
        return texts
    }

    /// A value that is one of a few words.
    func choice<Value: CaseIterable & RawRepresentable>(
        _ text: String, line: Int, _ name: String, in group: String
    ) throws(WebConfigError) -> Value where Value.RawValue == String {
        guard let value = Value(rawValue: text) else {
            let known = Value.allCases.map(\.rawValue).joined(separator: ", ")
            throw fail(line, "\(group): \(name): unknown value '\(text)'; known values: \(known)")
        }
        return value
    }
}

/// Reads durations as Go writes them: `1s`, `100ms`, `1m30s`, `1.5h`.
enum GoDuration {
    private static let units: [(name: String, seconds: Double)] = [
        ("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1), ("m", 60), ("h", 3600),
    ]

    /// - Returns: `nil` for what is none.
    static func read(_ text: String) -> Duration? {
        if text == "0" { return .zero }
        var rest = Substring(text)
        var seconds = 0.0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { ($0.isASCII && $0.isWholeNumber) || $0 == "." }
            guard let number = Double(digits), digits.first != nil else { return nil }
            rest = rest.dropFirst(digits.count)
            let name = rest.prefix { $0.isLetter }
            guard let unit = units.first(where: { $0.name == name }) else { return nil }
            rest = rest.dropFirst(name.count)
            seconds += number * unit.seconds
        }
        return seconds < 1e9 ? .seconds(seconds) : nil
    }
}
