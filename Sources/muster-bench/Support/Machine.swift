// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Where and how busily a run took place.
struct Machine {
    let processors = sysconf(Int32(_SC_NPROCESSORS_ONLN))
    let kernel: String
    let model: String
    let load: MachineLoad

    /// The load from which on figures should not be taken for the machine's.
    static let quietLimit = 0.1

    init(load: MachineLoad) {
        self.load = load
        kernel = SystemFile.read("/proc/sys/kernel/osrelease").filter { $0 != "\n" }
        let line = SystemFile.read("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("model name") }
        model = line?.split(separator: ":").last.map { String($0.drop { $0 == " " }) } ?? "unknown"
    }

    var isQuiet: Bool { load.others + load.stolen < Self.quietLimit }
}
