// SPDX-License-Identifier: Apache-2.0

import Foundation

/// Certificates made by openssl for one run of the tests, in a folder that goes with the object.
///
/// Authorities: `ca`, and `other`, whom nobody trusts. Certificates of `ca` unless said otherwise: `server` and
/// `renewed` for localhost and 127.0.0.1; for clients `prometheus` (with a name of each kind), `nobody` (with
/// another name), `expired`, `stranger` (of `other`). Each is a file `NAME.pem`, its key `NAME.key`.
package final class TestCertificates: Sendable {
    package static var areAvailable: Bool { find("openssl") != nil }

    package let folder: TemporaryFolder

    private static let script = """
        cd "$0"
        key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }
        authority() { key "$1"; openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 2 -out "$1.pem"; }
        signed() {
            key "$1"
            openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
            printf 'subjectAltName=%s\nextendedKeyUsage=%s\n' "$5" "$4" > "$1.ext"
            openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days "$3" \
                -extfile "$1.ext" -out "$1.pem"
        }
        authority ca
        authority other
        signed server ca 2 serverAuth DNS:localhost,IP:127.0.0.1
        signed renewed ca 2 serverAuth DNS:localhost,IP:127.0.0.1
        signed prometheus ca 2 clientAuth \
            DNS:prometheus.test,IP:10.1.2.3,IP:fd00::1,email:prometheus@test,URI:spiffe://test/prometheus
        signed nobody ca 2 clientAuth DNS:nobody.test
        signed expired ca -1 clientAuth DNS:prometheus.test
        signed stranger other 2 clientAuth DNS:prometheus.test
        """

    /// Makes them.
    package init() throws {
        folder = try TemporaryFolder()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-ec", Self.script, folder.url.path]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Program.Ended(description: "openssl could not make the certificates")
        }
    }

    /// A certificate's file.
    package func certificate(_ name: String) -> String { folder.path(name + ".pem") }

    /// A key's file.
    package func key(_ name: String) -> String { folder.path(name + ".key") }
}
