// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What program to start, and with what.
package struct SpawnRequest: Sendable {
    /// The path of the program; this very one unless set, even when its file has been replaced since.
    package var executable = "/proc/self/exe"
    /// What the program is called in the process list: its `argv[0]`.
    package var title: String
    /// How many bytes the title takes at least, filled up with spaces: the room that ``ProcessTitle`` has later.
    package var titleRoom = 0
    /// The arguments after the title, as bytes without the final zero.
    package var arguments: [[UInt8]]
    /// The environment.
    package var environment: ProcessEnvironment
    /// The descriptors that the program gets, as its 3, 4, 5… in this order. Besides those it inherits 0, 1 and 2.
    package var descriptors: [Int32]

    package init(
        title: String, arguments: [[UInt8]] = [], environment: ProcessEnvironment = .inherited,
        descriptors: [Int32] = []
    ) {
        self.title = title
        self.arguments = arguments
        self.environment = environment
        self.descriptors = descriptors
    }

    package init(
        executable: String, title: String, arguments: [String] = [], environment: ProcessEnvironment = .inherited,
        descriptors: [Int32] = []
    ) {
        self.init(
            title: title, arguments: arguments.map { Array($0.utf8) }, environment: environment,
            descriptors: descriptors)
        self.executable = executable
    }

    /// This process' own arguments without its `argv[0]`, byte for byte.
    package static var ownArguments: [[UInt8]] {
        let arguments = CommandLine.unsafeArgv
        return (1..<max(1, Int(CommandLine.argc))).compactMap { index in
            arguments[index].map {
                Array(UnsafeBufferPointer(start: $0, count: strlen($0)).map(UInt8.init(bitPattern:)))
            }
        }
    }

    /// The number of the first of ``descriptors`` in the child.
    package static let firstDescriptor: Int32 = 3
}
