// SPDX-License-Identifier: Apache-2.0

/// What is asked of a client's certificate. The names are those of Go's crypto/tls, which exporter-toolkit uses.
enum ClientAuthentication: String, CaseIterable, Hashable {
    /// No certificate is asked for.
    case none = "NoClientCert"
    /// One is asked for; none, or any, will do.
    case request = "RequestClientCert"
    /// There has to be one; any will do.
    case requireAny = "RequireAnyClientCert"
    /// There need not be one; one that is there has to be good.
    case verifyIfGiven = "VerifyClientCertIfGiven"
    /// There has to be a good one.
    case requireAndVerify = "RequireAndVerifyClientCert"

    /// Whether a client has to have a certificate.
    var isRequired: Bool { self == .requireAny || self == .requireAndVerify }
    /// Whether a certificate is held against the authorities.
    var isVerified: Bool { self == .verifyIfGiven || self == .requireAndVerify }
}
