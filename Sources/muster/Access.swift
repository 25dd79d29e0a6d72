// SPDX-License-Identifier: Apache-2.0

/// What is shown to an endpoint that asks for it.
struct Access {
    let user: String?
    let password: String?
    let caFile: String?
    let certificate: String?
    let key: String?
    let isInsecure: Bool
}
