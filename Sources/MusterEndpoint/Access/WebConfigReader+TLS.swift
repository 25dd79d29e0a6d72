// SPDX-License-Identifier: Apache-2.0

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
                "\(Self.group): \(entry.name) and, in line \(other.line), \(other.origin) exclude each other")
        }
        guard entry.name.hasSuffix("_file") else {
            material = TLSSettings.Material(origin: entry.name, bytes: Array(text.utf8), line: entry.line)
            return
        }
        guard !text.utf8.contains(0) else { throw fail(entry.value.line, "\(Self.group): \(entry.name) is no path") }
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
            throw fail(line, "\(Self.group): cert or cert_file is missing, so that there is nothing to serve TLS with")
        }
        guard let key = values.key else {
            throw fail(line, "\(Self.group): key or key_file is missing, so that there is nothing to serve TLS with")
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
                "\(Self.group): \(authorities.origin) is of no use without a client_auth_type that asks for certificates, "
                    + "such as RequireAndVerifyClientCert")
        }
        if policy.isVerified, values.authorities == nil {
            throw fail(
                values.clientAuthenticationLine,
                "\(Self.group): client_auth_type \(policy.rawValue) needs client_ca or client_ca_file: who may sign")
        }
        if let names = values.allowedNames {
            guard policy == .requireAndVerify else {
                throw fail(
                    values.allowedNamesLine,
                    "\(Self.group): client_allowed_sans needs client_auth_type RequireAndVerifyClientCert; a name in a "
                        + "certificate that nobody has verified says nothing")
            }
            guard !names.isEmpty else {
                throw fail(
                    values.allowedNamesLine, "\(Self.group): client_allowed_sans is empty, so that nobody could enter")
            }
        }
    }
}
