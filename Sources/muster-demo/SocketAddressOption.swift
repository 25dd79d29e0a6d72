// SPDX-License-Identifier: Apache-2.0

import ArgumentParser

/// `HOST:PORT` on the command line; an IPv6 host stands in brackets.
struct SocketAddressOption: ExpressibleByArgument, ExpressibleByStringLiteral {
    let host: String
    let port: UInt16

    init?(argument: String) {
        guard let colon = argument.lastIndex(of: ":"), let port = UInt16(argument[argument.index(after: colon)...])
        else { return nil }
        var host = String(argument[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty else { return nil }
        self.host = host
        self.port = port
    }

    init(stringLiteral value: String) {
        self = Self(argument: value) ?? Self(host: value, port: 0)
    }

    private init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    var defaultValueDescription: String { "\(host):\(port)" }
}
