// SPDX-License-Identifier: Apache-2.0

/// A cipher suite, by Go's name for it: those that Go holds secure, which are what exporter-toolkit takes.
enum CipherSuite: String, CaseIterable {
    case aes128 = "TLS_AES_128_GCM_SHA256"
    case aes256 = "TLS_AES_256_GCM_SHA384"
    case chacha20 = "TLS_CHACHA20_POLY1305_SHA256"
    case ecdsaAES128 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    case ecdsaAES256 = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    case ecdsaChaCha20 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
    case ecdsaAES128CBC = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"
    case ecdsaAES256CBC = "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"
    case rsaAES128 = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    case rsaAES256 = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
    case rsaChaCha20 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
    case rsaAES128CBC = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
    case rsaAES256CBC = "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"

    /// GnuTLS' name of the key exchange; `nil` for a suite of TLS 1.3, which has none.
    var exchange: String? {
        switch self {
        case .aes128, .aes256, .chacha20: nil
        case .ecdsaAES128, .ecdsaAES256, .ecdsaChaCha20, .ecdsaAES128CBC, .ecdsaAES256CBC: "ECDHE-ECDSA"
        case .rsaAES128, .rsaAES256, .rsaChaCha20, .rsaAES128CBC, .rsaAES256CBC: "ECDHE-RSA"
        }
    }

    /// GnuTLS' name of the cipher.
    var cipher: String {
        switch self {
        case .aes128, .ecdsaAES128, .rsaAES128: "AES-128-GCM"
        case .aes256, .ecdsaAES256, .rsaAES256: "AES-256-GCM"
        case .chacha20, .ecdsaChaCha20, .rsaChaCha20: "CHACHA20-POLY1305"
        case .ecdsaAES128CBC, .rsaAES128CBC: "AES-128-CBC"
        case .ecdsaAES256CBC, .rsaAES256CBC: "AES-256-CBC"
        }
    }

    /// GnuTLS' name of what authenticates the records.
    var authentication: String { isAuthenticated ? "AEAD" : "SHA1" }

    /// Whether the cipher authenticates by itself, as those of TLS 1.3 have to.
    var isAuthenticated: Bool { !cipher.hasSuffix("CBC") }
}
