// SPDX-License-Identifier: Apache-2.0

package import MusterPlatform

/// Why a file cannot be a worker's vital signs.
package enum VitalSignsError: Error, Hashable, Sendable, CustomStringConvertible {
    /// It could be cut off, which would kill whoever reads behind its end.
    case notSealed
    /// It has another size.
    case wrongSize(Int)
    /// It was not made by this version of Muster.
    case foreign
    /// A system call failed.
    case system(SystemError)

    package var description: String {
        switch self {
        case .notSealed: "the vital signs' file is not sealed against changes of its size"
        case .wrongSize(let size): "the vital signs' file has \(size) bytes instead of \(VitalSignsLayout.size)"
        case .foreign: "the vital signs' file was made by another program or version"
        case .system(let error): "the vital signs' file cannot be used: \(error)"
        }
    }
}
