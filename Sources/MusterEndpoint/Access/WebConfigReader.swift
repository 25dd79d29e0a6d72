// SPDX-License-Identifier: Apache-2.0

/// Makes a web config of a file's text. Pure but for the files that it names, and those are read by a function that
/// is handed in.
///
/// The keys and their meaning are exporter-toolkit's ("web configuration"); what that takes silently although it cannot
/// be meant is refused here.
struct WebConfigReader {
    /// Reads a file's bytes.
    typealias ReadFile = (_ path: String) throws(FileContent.Problem) -> [UInt8]

    let file: String
    let readFile: ReadFile

    /// Reads a web config file and the files that it names.
    ///
    /// - Parameters:
    ///   - file: Its path.
    ///   - readFile: Reads a file.
    static func read(file: String, with readFile: @escaping ReadFile) throws(WebConfigError) -> WebConfig {
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
        for entry in try root.map({ root throws(WebConfigError) in try keys(of: root, in: nil) }) ?? [] {
            switch entry.name {
            case "tls_server_config": tls = try self.tls(entry.value)
            case "http_server_config": (headers, asksForHTTP2) = try http(entry.value)
            case "basic_auth_users": users = try self.users(entry.value)
            case "rate_limit": rateLimit = try self.rateLimit(entry.value)
            default:
                throw unknown(
                    entry, in: nil, known: "basic_auth_users, http_server_config, rate_limit and tls_server_config")
            }
        }
        return WebConfig(
            file: file, tls: tls, headers: headers, users: users, rateLimit: rateLimit, asksForHTTP2: asksForHTTP2)
    }

    // MARK: Users

    private func users(_ node: YAMLNode) throws(WebConfigError) -> [String: BcryptHash] {
        var users: [String: BcryptHash] = [:]
        for entry in try keys(of: node, in: "basic_auth_users") {
            let name = entry.name
            let remedy = "make one with htpasswd -nBC 10 '\(name)'"
            guard !name.utf8.contains(UInt8(ascii: ":")) else {
                throw fail(
                    entry.line, "basic_auth_users: the name '\(name)' has a colon, so that it could never be sent")
            }
            guard case .scalar(let text, _) = entry.value.content, let hash = BcryptHash(text) else {
                throw fail(
                    entry.value.line,
                    "basic_auth_users: the value of '\(name)' is no bcrypt hash ($2y$COST$ and 53 more characters); "
                        + remedy)
            }
            guard hash.cost <= BcryptHash.highestCost else {
                throw fail(
                    entry.value.line,
                    "basic_auth_users: the hash of '\(name)' has cost \(hash.cost), which takes too long to check; "
                        + "\(BcryptHash.highestCost) is the highest; \(remedy)")
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
                "\(group): '\(entry.name)' cannot be set; those that can are "
                    + Self.permitted.map(\.name).joined(separator: ", "))
        }
        let value = try text(entry, in: group)
        guard rule.values.isEmpty || rule.values.contains(value) else {
            let values = rule.values.map { "'\($0)'" }.joined(separator: " or ")
            throw fail(entry.value.line, "\(group): \(entry.name) is '\(value)'; it can be \(values)")
        }
        guard !value.isEmpty, value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw fail(
                entry.value.line, "\(group): \(entry.name) is empty, or has a line break or another control in it")
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
                    throw fail(entry.value.line, "\(group): interval is '\(text)'; a duration looks like 100ms or 1s")
                }
                interval = read
            case "burst":
                guard let read = Int(text), (0...1_000_000).contains(read) else {
                    throw fail(
                        entry.value.line, "\(group): burst is '\(text)'; it can be a whole number up to 1000000")
                }
                burst = read
            default: throw unknown(entry, in: group, known: "burst and interval")
            }
        }
        guard interval > .zero else { return nil }
        guard let burst, burst > 0 else {
            throw fail(
                node.line, "\(group): burst is missing or 0, so that no request would be answered; set 1 or more")
        }
        return RateLimit(interval: interval, burst: burst)
    }
}
