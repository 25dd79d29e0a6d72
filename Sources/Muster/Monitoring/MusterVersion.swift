// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint

/// What was built.
public enum MusterVersion {
    /// Muster's version.
    public static let current = "0.1.0"

    /// The Swift version that it was compiled with.
    public static var swift: String {
        #if swift(>=6.4)
        "6.4"
        #elseif swift(>=6.3)
        "6.3"
        #else
        "6.2"
        #endif
    }

    /// Both, as a status tells them.
    static var status: VersionStatus { VersionStatus(muster: current, swift: swift) }
}
