// SPDX-License-Identifier: Apache-2.0

/// `MUSTER_BACKEND` names no backend.
struct UnknownBackendName: Error, CustomStringConvertible {
    let name: String

    var description: String {
        "MUSTER_BACKEND is '\(name)': set it to 'cooperative' or 'threading', or unset it"
    }
}
