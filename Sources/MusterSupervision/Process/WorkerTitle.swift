// SPDX-License-Identifier: Apache-2.0

/// What workers are called in the process list.
package enum WorkerTitle {
    /// The name in the command line, for example `muster-demo: store/2`.
    ///
    /// - Parameters:
    ///   - program: The program's name or path.
    ///   - worker: The worker, for example `store/2`.
    package static func long(program: String, worker: String) -> String {
        "\(program.split(separator: "/").last ?? "muster"): \(worker)"
    }
}
