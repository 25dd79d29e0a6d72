// SPDX-License-Identifier: Apache-2.0

/// The versions, ciphers and groups of a web config file, said in GnuTLS' words (a "priority string").
struct TLSPriorities {
    /// Why there is no such string.
    struct Problem: Error {
        var reason: String
    }

    var minimum = TLSVersion.tls12
    var maximum = TLSVersion.tls13
    /// In the order of preference; empty for GnuTLS' choice.
    var suites: [CipherSuite] = []
    /// In the order of preference; empty for GnuTLS' choice.
    var curves: [TLSCurve] = []
    var prefersServerOrder = true

    /// The priority string.
    ///
    /// GnuTLS takes key exchanges and ciphers each by itself and combines them freely, so a list of suites that is not
    /// all combinations of its parts cannot be said.
    func text() throws(Problem) -> String {
        var versions = TLSVersion.allCases.filter { minimum <= $0 && $0 <= maximum }
        var parts = ["NORMAL", "-VERS-ALL"]
        var tail: [String] = []
        // Go lets no list choose the suites of TLS 1.3; where there is nothing else, none is asked.
        if !suites.isEmpty, minimum < .tls13 {
            try checkCombinations()
            let exchanges = suites.compactMap(\.exchange).uniqued()
            if exchanges.isEmpty { versions.removeAll { $0 < .tls13 } }
            if !suites.contains(where: \.isAuthenticated) { versions.removeAll { $0 == .tls13 } }
            guard !versions.isEmpty else {
                throw Problem(
                    reason: "none of them works with \(minimum.rawValue) to \(maximum.rawValue); add one that does")
            }
            tail += ["-CIPHER-ALL"] + suites.map(\.cipher).uniqued().map { "+" + $0 }
            tail += ["-MAC-ALL"] + suites.map(\.authentication).uniqued().map { "+" + $0 }
            tail += exchanges.isEmpty ? [] : ["-KX-ALL"] + exchanges.map { "+" + $0 }
        }
        parts += versions.reversed().map { "+" + $0.priority } + tail
        if !curves.isEmpty { parts += ["-GROUP-ALL"] + curves.uniqued().map { "+" + $0.priority } }
        if prefersServerOrder { parts.append("%SERVER_PRECEDENCE") }
        return parts.joined(separator: ":")
    }

    private func checkCombinations() throws(Problem) {
        let exchanges = Set(suites.compactMap(\.exchange))
        let ciphers = Set(suites.map(\.cipher))
        for suite in CipherSuite.allCases {
            guard let exchange = suite.exchange, exchanges.contains(exchange), ciphers.contains(suite.cipher) else {
                continue
            }
            guard suites.contains(suite) else {
                throw Problem(
                    reason: "GnuTLS could then not be kept from using \(suite.rawValue), too; add it, or leave out "
                        + "those that share its parts")
            }
        }
    }
}

extension Array where Element: Hashable {
    /// Each element once, where it comes first.
    fileprivate func uniqued() -> [Element] {
        var seen: Set<Element> = []
        return filter { seen.insert($0).inserted }
    }
}
