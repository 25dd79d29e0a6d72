// SPDX-License-Identifier: Apache-2.0

/// The part `tls_server_config` of a web config file, with the contents of the files that it names.
struct TLSSettings: Hashable {
    /// Something in PEM form, and where it came from.
    struct Material: Hashable {
        /// The key, and the file if it names one: `cert_file ('/etc/tls.crt')`.
        var origin: String
        var bytes: [UInt8]
        /// The line of the web config file.
        var line: Int
    }

    var certificate: Material
    var key: Material
    /// Who may sign clients' certificates.
    var authorities: Material?
    var clientAuthentication = ClientAuthentication.none
    /// The names of which a client's certificate has to have one; `nil` for no such demand.
    var allowedNames: [String]?
    var minimum = TLSVersion.tls12
    var maximum = TLSVersion.tls13
    /// For GnuTLS.
    var priorities: String

    /// What decides who gets in, as opposed to what the server shows of itself.
    var admission: Admission {
        Admission(
            authorities: authorities?.bytes, clientAuthentication: clientAuthentication, allowedNames: allowedNames)
    }

    struct Admission: Hashable {
        var authorities: [UInt8]?
        var clientAuthentication: ClientAuthentication
        var allowedNames: [String]?
    }
}
